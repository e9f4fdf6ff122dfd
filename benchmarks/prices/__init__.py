"""Prices: speed and memory beside SkyPilot, refreshing from a slow server, agreement with independent lists."""
