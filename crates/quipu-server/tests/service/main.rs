//! The service, asked over real sockets.

mod http;
