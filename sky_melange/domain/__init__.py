"""The nouns of the project: frozen dataclasses without input or output."""
