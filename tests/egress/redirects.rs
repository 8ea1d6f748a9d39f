//! Redirects: each is judged as if a user had given it, and none takes anything along.

use framewright::net::FetchError;
use framewright::net::egress::{Egress, EgressPolicy, MAX_REDIRECTS, UrlRefusal};
use framewright::net::retry::Failure;

use crate::names::Names;
use crate::server::{Reply, Server};
use crate::{FRIEND, LIMITS, VICTIM, causes, egress};

const OPEN: &[&str] = &["127.83.21.8/32"];

#[tokio::test]
async fn redirects_to_what_is_refused_are_not_followed() {
    let victim = Server::start((VICTIM, 0), |_| Reply::ok("secret")).await.unwrap();
    let port = victim.address.port();
    let targets = [
        format!("http://127.83.21.9:{port}/"),
        format!("http://2136151305:{port}/"),
        format!("http://0x7f531509:{port}/"),
        format!("http://0177.0123.025.011:{port}/"),
        format!("http://127.5444873:{port}/"),
        format!("//127.83.21.9:{port}/"),
        format!("http://[::ffff:127.83.21.9]:{port}/"),
        format!("http://[::ffff:7f53:1509]:{port}/"),
        format!("http://[64:ff9b::7f53:1509]:{port}/"),
        format!("http://[::7f53:1509]:{port}/"),
        format!("http://[2002:7f53:1509::1]:{port}/"),
        format!("http://%31%32%37.83.21.9:{port}/"),
        format!("http://１２７.83.21.9:{port}/"),
        format!("http://127.83.21.9.:{port}/"),
        format!("http://victim.test:{port}/"),
        format!("http://mixed.test:{port}/"),
        format!("https://victim.test:{port}/"),
        "https://victim.test:8443/".to_owned(),
        "https://127.83.21.9/".to_owned(),
        "https://127.83.21.9:8443/".to_owned(),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "http://[fd00:ec2::254]/latest/meta-data/".to_owned(),
        "http://localhost/".to_owned(),
        "http://[::1]/".to_owned(),
        "http://0/".to_owned(),
        "http://8.8.8.8/".to_owned(),
        "https://8.8.8.8:22/".to_owned(),
        format!("http://user:password@127.83.21.8:{port}/"),
        format!("http://127.83.21.8:{port}\\@127.83.21.9/"),
        "file:///etc/passwd".to_owned(),
        "gopher://127.83.21.9:70/_x".to_owned(),
        "data:image/png;base64,AAAA".to_owned(),
        "javascript:alert(1)".to_owned(),
        "ftp://127.83.21.9/".to_owned(),
        "dict://127.83.21.9:11211/stat".to_owned(),
        "http://".to_owned(),
        "http:///".to_owned(),
        format!("http://127.83.21.8:{port}/{}", "a".repeat(5000)),
    ];
    let names =
        Names::of(&[("victim.test", "127.83.21.9"), ("mixed.test", "127.83.21.8 127.83.21.9"), ("localhost", "127.0.0.1")]);
    let egress = egress(OPEN, &names);
    for status in [301, 302, 303, 307, 308] {
        for target in targets.clone() {
            let location = target.clone();
            let friend = Server::start((FRIEND, 0), move |_| Reply::redirect(status, &location)).await.unwrap();
            let url = egress.policy().check(&friend.url("/?signature=abc")).unwrap();
            let error = egress.get(&url, &LIMITS).await.unwrap_err();
            assert!(
                matches!(error, FetchError::Redirect { .. } | FetchError::NoAddress { is_refused: true, .. }),
                "{target}: {error:?}"
            );
            assert!(matches!(error.failure(), Failure::NotSent | Failure::Unusable), "{target}: {error:?}");
            assert!(!causes(&error).contains("signature"), "{}", causes(&error));
            assert_eq!(friend.connections().await, 1, "{target}");
        }
    }
    assert_eq!(victim.connections().await, 0);
    assert!(victim.requests().is_empty());
}

#[tokio::test]
async fn what_is_open_is_followed_a_few_times() {
    let names = Names::of(&[("friend.test", "127.83.21.8")]);
    let egress = egress(OPEN, &names);
    let friend = Server::start((FRIEND, 0), |target| match target {
        "/a/1" => Reply::redirect(302, "2"),
        "/a/2" => Reply::redirect(301, "/3?x=1#part"),
        "/3?x=1" => Reply::redirect(307, "?end"),
        "/3?end" => Reply::ok("picture"),
        "/loop" => Reply::redirect(308, "/loop"),
        "/0" => Reply::redirect(303, "/a/1"),
        "/nowhere" => Reply::new("HTTP/1.1 302 Found\nContent-Length: 0", ""),
        _ => Reply::new("HTTP/1.1 404 Not Found\nContent-Length: 0", ""),
    })
    .await
    .unwrap();
    let get = async |target: &str| {
        let url = egress.policy().check(&friend.url(target)).unwrap();
        egress.get(&url, &LIMITS).await
    };
    let download = get("/a/1").await.unwrap();
    assert_eq!((download.bytes.as_ref(), download.content_type.as_deref()), (b"picture".as_slice(), Some("image/png")));
    assert_eq!(friend.requests().len(), 1 + MAX_REDIRECTS);
    for request in friend.requests() {
        let lower = request.to_ascii_lowercase();
        for unwanted in ["cookie", "referer", "authorization", "#part"] {
            assert!(!lower.contains(unwanted), "{request}");
        }
        assert!(lower.contains("\r\naccept-encoding: identity\r\n"), "{request}");
    }

    for too_far in ["/0", "/loop"] {
        let before = friend.requests().len();
        let error = get(too_far).await.unwrap_err();
        assert!(matches!(error, FetchError::TooManyRedirects { .. }), "{error:?}");
        assert_eq!(error.to_string(), "'127.83.21.8' redirects more than 3 times");
        assert_eq!(friend.requests().len() - before, 1 + MAX_REDIRECTS);
    }
    let error = get("/nowhere").await.unwrap_err();
    assert!(matches!(error, FetchError::Redirect { reason: UrlRefusal::Malformed, .. }), "{error:?}");
}

#[tokio::test]
async fn a_name_that_changes_its_mind_gains_nothing() {
    let [friend, victim] = Server::pair([FRIEND, VICTIM], [|_: &str| Reply::ok("friend"), |_: &str| Reply::ok("victim")]).await;
    let port = friend.address.port();
    let names = Names::flipping("flip.test", &["127.83.21.8", "127.83.21.9"]);
    let egress = egress(OPEN, &names);
    let url = egress.policy().check(&format!("http://flip.test:{port}/")).unwrap();
    assert_eq!(egress.get(&url, &LIMITS).await.unwrap().bytes.as_ref(), b"friend");
    for _ in 0..3 {
        let error = egress.get(&url, &LIMITS).await.unwrap_err();
        assert_eq!(error.to_string(), "'flip.test' has no address that this server may call");
        assert!(causes(&error).contains("127.83.21.9"), "the log has the address: {}", causes(&error));
    }
    assert_eq!(names.asked().len(), 4);
    assert_eq!((friend.connections().await, victim.connections().await), (1, 0));
}

#[tokio::test]
async fn a_name_that_changes_its_mind_between_redirects_gains_nothing() {
    let victim = Server::start((VICTIM, 0), |_| Reply::ok("victim")).await.unwrap();
    let location = format!("http://flip.test:{}/", victim.address.port());
    let friend = Server::start((FRIEND, 0), move |_| Reply::redirect(302, &location)).await.unwrap();
    let names = Names::flipping("flip.test", &["127.83.21.8", "127.83.21.9"]);
    let egress = egress(OPEN, &names);
    let url = egress.policy().check(&format!("http://flip.test:{}/", friend.address.port())).unwrap();
    let error = egress.get(&url, &LIMITS).await.unwrap_err();
    assert!(matches!(error, FetchError::NoAddress { is_refused: true, .. }), "{error:?}");
    assert_eq!((friend.connections().await, victim.connections().await), (1, 0));
}

#[tokio::test]
async fn what_the_operator_closed_is_not_called_though_it_is_opened() {
    let victim = Server::start((VICTIM, 0), |_| Reply::ok("secret")).await.unwrap();
    let port = victim.address.port();
    let friend = Server::start((FRIEND, 0), move |target| match target {
        "/address" => Reply::redirect(302, &format!("http://127.83.21.9:{port}/")),
        "/name" => Reply::redirect(302, &format!("http://victim.test:{port}/")),
        _ => Reply::ok("picture"),
    })
    .await
    .unwrap();
    let policy = EgressPolicy::new(vec!["127.83.21.0/24".parse().unwrap()]).closed_to(vec!["127.83.21.9/32".parse().unwrap()]);
    let egress = Egress::with_lookup(policy, Names::of(&[("victim.test", "127.83.21.8 127.83.21.9")])).unwrap();
    assert!(matches!(egress.policy().check(&victim.url("/")), Err(UrlRefusal::Closed { .. })));
    let get = async |target: &str| egress.get(&egress.policy().check(&friend.url(target)).unwrap(), &LIMITS).await;
    let address = get("/address").await.unwrap_err();
    assert!(matches!(address, FetchError::Redirect { reason: UrlRefusal::Closed { .. }, .. }), "{address:?}");
    let name = get("/name").await.unwrap_err();
    assert!(matches!(name, FetchError::NoAddress { is_refused: true, .. }), "{name:?}");
    assert!(causes(&name).contains("127.83.21.9, which egress.deny closes") && !name.to_string().contains("127.83"), "{name:?}");
    assert_eq!(get("/picture").await.unwrap().bytes, "picture");
    assert_eq!(victim.connections().await, 0);
}
