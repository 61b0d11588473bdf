"""What the vehicle knows for sure, as set-valued labels (pure numpy)."""
