"""V4L2 devices: what the kernel says of each /dev/videoN, asked by ioctl; no picture is read here."""
