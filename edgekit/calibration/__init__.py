"""Calibration: observe ranges, choose scales, write the Q/DQ model, hold it against the floating-point one."""
