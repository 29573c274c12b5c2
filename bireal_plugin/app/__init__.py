"""A page in the browser that shows what networks make of photographs; needs the extra ``app``."""
