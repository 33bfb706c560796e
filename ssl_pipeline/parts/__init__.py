"""Building blocks of methods, for everyone: heads, memories, teachers, holes, tiles, prototypes."""
