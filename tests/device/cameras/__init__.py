"""V4L2 devices, answered by a stand-in at ioctl level."""
