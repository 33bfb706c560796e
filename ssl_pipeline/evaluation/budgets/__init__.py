"""What pretrained weights are worth when labels are few: arms that learn from the same labels."""
