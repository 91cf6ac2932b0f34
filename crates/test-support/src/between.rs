//! Standing between clients and a server: accepting the clients, and connecting each to the server.

use std::net::{TcpListener, TcpStream};
use std::thread;

/// Accepts clients at a port of its own as long as the program runs, and returns the port. `pumps`
/// makes two functions for each client: the first one passes on what the client sends, the second
/// one what the server at this port of 127.0.0.1 sends. Each has a thread, and the streams from
/// where and to where.
pub fn between<T, B>(server: u16, pumps: impl Fn() -> (T, B) + Send + 'static) -> u16
where
    T: FnOnce(TcpStream, TcpStream) + Send + 'static,
    B: FnOnce(TcpStream, TcpStream) + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else {
                continue;
            };
            let (Ok(of_server), Ok(to_client)) = (server.try_clone(), client.try_clone()) else {
                continue;
            };
            let (there, back) = pumps();
            thread::spawn(move || there(client, server));
            thread::spawn(move || back(of_server, to_client));
        }
    });
    port
}
