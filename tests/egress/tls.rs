//! A server whose certificate nobody vouches for is sent nothing.

use std::net::SocketAddr;
use std::sync::Arc;

use framewright::net::retry::Failure;
use framewright::net::upstream::Upstream;
use framewright::net::{FetchError, HeaderMap};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::names::Names;
use crate::{FRIEND, LIMITS, egress};

/// For `friend.test` and 127.83.21.8, valid for a hundred years, and signed by itself: all that is wrong with it is that nobody knows it.
const CERTIFICATE: &[u8] = include_bytes!("unknown_certificate.pem");
/// Of no use but here.
const PRIVATE_KEY: &[u8] = include_bytes!("unknown_private_key.pem");

/// A server with TLS; what it is sent inside, one entry a connection, `None` where there was no handshake.
async fn start() -> (SocketAddr, mpsc::UnboundedReceiver<Option<Vec<u8>>>, JoinSet<()>) {
    let certificate = CertificateDer::from_pem_slice(CERTIFICATE).unwrap();
    let private_key = PrivateKeyDer::from_pem_slice(PRIVATE_KEY).unwrap();
    let versions =
        ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider())).with_safe_default_protocol_versions();
    let config = versions.unwrap().with_no_client_auth().with_single_cert(vec![certificate], private_key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind((FRIEND, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, received) = mpsc::unbounded_channel();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut inside = None;
            if let Ok(mut stream) = acceptor.accept(stream).await {
                let mut bytes = vec![0; 4096];
                // A client that ends the connection has sent nothing.
                let count = stream.read(&mut bytes).await.unwrap_or(0);
                bytes.truncate(count);
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}").await;
                let _ = stream.shutdown().await;
                inside = Some(bytes);
            }
            let _ = sender.send(inside);
        }
    });
    (address, received, tasks)
}

#[tokio::test]
async fn a_server_with_an_unknown_certificate_is_sent_nothing() {
    let (address, mut received, _tasks) = start().await;
    let egress = egress(&["127.83.21.8/32"], &Names::of(&[("friend.test", "127.83.21.8")]));
    let port = address.port();
    for host in ["friend.test", "127.83.21.8"] {
        let url = egress.policy().check(&format!("https://{host}:{port}/?signature=abc")).unwrap();
        let got = egress.get(&url, &LIMITS).await.map(|_| ());
        assert_eq!(received.recv().await.unwrap().unwrap_or_default(), b"", "GET {host}");
        let posted = egress.post_json(&url, HeaderMap::new(), "{}".into(), &LIMITS).await.map(|_| ());
        assert_eq!(received.recv().await.unwrap().unwrap_or_default(), b"", "POST {host}");
        for result in [got, posted] {
            assert!(matches!(result, Err(FetchError::Unreachable { .. })), "{host}: {result:?}");
            assert_eq!(result.unwrap_err().failure(), Failure::NotSent);
        }
    }
    let upstream = Upstream::new(&format!("https://127.83.21.8:{port}/v1")).unwrap();
    let error = upstream.post_json(&["tasks"], HeaderMap::new(), "{}".into(), &LIMITS).await.unwrap_err();
    assert_eq!(received.recv().await.unwrap().unwrap_or_default(), b"", "the operator's own");
    assert!(matches!(error, FetchError::Unreachable { .. }), "{error:?}");

    // Who does not ask for a voucher is answered: the certificate is all that stands between.
    let careless = reqwest::Client::builder().no_proxy().tls_danger_accept_invalid_certs(true).build().unwrap();
    let answer = careless.get(format!("https://127.83.21.8:{port}/")).send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "{}");
    assert!(received.recv().await.unwrap().unwrap().starts_with(b"GET / HTTP/1.1\r\n"));
}
