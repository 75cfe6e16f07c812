//! A client that signs what it asks.

use std::net::SocketAddr;

use ringmq::auth::{Credentials, Signer};
use ringmq::wire::Value;

use super::client::{Client, Reply};

/// Asks in the name of a user.
pub struct As<'a> {
    client: Client,
    signer: Signer,
    name: &'a str,
}

impl<'a> As<'a> {
    pub fn new(addr: SocketAddr, name: &'a str, secret: &str) -> Self {
        Self::over(Client::connect(addr), name, secret)
    }

    /// On a connection that is there.
    pub fn over(client: Client, name: &'a str, secret: &str) -> Self {
        let signer = Signer::new(&Credentials::new(name, secret));
        Self {
            client,
            signer,
            name,
        }
    }

    pub fn ask(&mut self, code: i32, ext: &[(&str, Value<'_>)], body: &str) -> Reply {
        let signature = self.signer.sign(ext, body.as_bytes());
        let own = [
            ("AccessKey", Value::Str(self.name)),
            ("Signature", Value::Str(&signature)),
        ];
        let signed = [ext, &own].concat();
        self.client.ask(code, &signed, body.as_bytes())
    }
}
