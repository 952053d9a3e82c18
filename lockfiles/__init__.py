"""Hashed lockfiles and the inputs they are made from: ``provision lock NAME`` writes both."""
