"""Equalization: an equal network whose channels 8 bit serves alike."""
