"""The internal hop between roles: framed messages over TCP, Unix sockets or memory."""
