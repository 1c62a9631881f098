"""What Litestar, Quart and BlackSheep know of a request and leave nowhere: told to the request's exchange by hooks.

`routes` comes in here, with the first request of a process that has loaded one of them; the way: `install()` of a
framework's file. State: the original methods, in `noting`. Django's hooks are in `streaming_dd.django`.
"""
