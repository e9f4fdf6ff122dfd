"""What runs inside other people's routers. It is copied into plan folders: nothing here imports the package."""
