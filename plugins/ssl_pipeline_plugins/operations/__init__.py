"""Operations on views, in addition to those of `ssl_pipeline.augment`."""
