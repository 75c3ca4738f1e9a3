"""What kernels show of an MTU that is wrong, without a packet being sent."""
