"""Views of images: the policies that define them, and the pure functions that make them."""
