"""Offline training (PyTorch): datasets, networks, refiners, recipes and the export to a bundle.

Nothing in here ships to the vehicle, and nothing in here imports rclpy.
"""
