"""What methods are made of, for everyone: heads, memories, teachers, holes, tiles, prototypes."""
