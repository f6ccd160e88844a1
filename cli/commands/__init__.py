"""The commands, one file each, in packages by what they are for."""
