"""Writes the embedded price catalogs and gpus.csv from a folder of public price lists."""
