"""The public functions, one file each. The names are re-exported by the package itself."""
