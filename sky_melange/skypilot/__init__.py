"""Everything that touches SkyPilot itself. The only package that imports `sky`, and only in a child process."""
