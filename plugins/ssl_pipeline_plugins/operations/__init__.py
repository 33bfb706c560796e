"""Operations on views beside those of `ssl_pipeline.augment`."""
