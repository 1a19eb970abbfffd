"""The ways to a server's door: TLS, a unix socket, sockets that a service manager has opened.

certificate.py      `validity_of`: the time in which the first certificate of a PEM file is valid.
http_server.py      `HttpServer`: uvicorn on sockets of several kinds, with TLS where it belongs, without
                    signals.
open.py             `open_listener`: the sockets that the settings ask for, or those that a service manager
                    has opened.
service_manager.py  `ServiceManager`: the sockets that systemd hands over, and what it wants to hear.
tls.py              `TlsFiles`: a server's certificate and key, checked before use and read anew when they
                    change.
tls_door.py         `TlsDoor`: accepts the network's connections, and lets in those that finish a TLS
                    handshake.
unix_socket.py      `UnixListener`: a bound socket in the file system, whose access rights say who may call
                    the server.
"""
