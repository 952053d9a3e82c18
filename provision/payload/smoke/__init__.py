"""The smoke test: proofs that run in the container (`python -m smoke`) and the bundled model they run on."""
