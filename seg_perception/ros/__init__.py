"""The only room that knows ROS: messages in, messages out, parameters, lifecycle, diagnostics."""
