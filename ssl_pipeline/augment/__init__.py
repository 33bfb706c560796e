"""Views of images: the policy that says what they are, and the pure functions that make them."""
