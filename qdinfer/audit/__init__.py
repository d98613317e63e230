"""Reading what is not trusted: the two file kinds that native code or a parser will meet, looked through beforehand.

Both audits work on bytes alone, import nothing but the standard library, and answer with a small summary or an
`ArtifactError`.
"""
