"""All that is known of single CNIs, one module or folder each; nothing outside of here names one.

`protocol` says what such a module offers and `registry` joins them all; `knowledge` is what each declares, `objects`
how objects of the API are read for any, `programs` what several of them run on nodes. Pure as `core` is.
"""
