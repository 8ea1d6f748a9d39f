//! Links of people who want this server to call what they cannot. Each leads, in a way of its own, to a server that counts who connects,
//! or to addresses where nothing of ours may go.

use framewright::net::FetchError;
use framewright::net::egress::{Egress, EgressPolicy, UrlRefusal};
use framewright::net::retry::Failure;
use framewright::net::{HeaderMap, Limits};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use crate::names::Names;
use crate::server::{Reply, Server};
use crate::{LIMITS, VICTIM, causes, egress};

/// Names, and where they lead.
const NAMES: &[(&str, &str)] = &[
    ("victim.test", "127.83.21.9"),
    ("xn--bcher-kva.test", "127.83.21.9"),
    ("victim_9.test", "127.83.21.9"),
    ("127.83.21.9.nip.test", "127.83.21.9"),
    ("localhost", "127.0.0.1 ::1"),
    ("localhost.", "127.0.0.1"),
    ("victim.localhost", "127.83.21.9"),
    ("intranet", "10.0.0.1"),
    ("private.test", "192.168.1.1"),
    ("middle.test", "172.31.255.254"),
    ("shared.test", "100.100.100.200"),
    ("metadata.test", "169.254.169.254"),
    ("metadata.google.internal", "169.254.169.254"),
    ("azure.test", "168.63.129.16"),
    ("zero.test", "0.0.0.0"),
    ("broadcast.test", "255.255.255.255"),
    ("multicast.test", "224.0.0.251"),
    ("benchmark.test", "198.18.0.1"),
    ("documentation.test", "203.0.113.7"),
    ("loopback6.test", "::1"),
    ("unspecified6.test", "::"),
    ("unique.test", "fd00:ec2::254"),
    ("link.test", "fe80::1"),
    ("site.test", "fec0::1"),
    ("mapped.test", "::ffff:127.83.21.9"),
    ("compatible.test", "::127.83.21.9"),
    ("nat64.test", "64:ff9b::7f53:1509"),
    ("nat64-local.test", "64:ff9b:1::7f53:1509"),
    ("six-to-four.test", "2002:7f53:1509::1"),
    ("teredo.test", "2001:0:7f53:1509::80ac:eaf6"),
    ("isatap.test", "2606:4700::5efe:7f53:1509"),
    ("mixed.test", "8.8.8.8 127.83.21.9"),
    ("mixed-first.test", "127.83.21.9 8.8.8.8"),
    ("mixed6.test", "2606:4700:4700::1111 127.83.21.9"),
    ("public.test", "8.8.8.8 2606:4700:4700::1111"),
    ("empty.test", ""),
];

/// Why a link is refused.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Why {
    Address,
    /// It is known when its name was looked up.
    Name,
    /// No TLS, and nothing known to be open.
    PlainHttp,
    Port,
    Scheme,
    UserInfo,
    Characters,
    Malformed,
    TooLong,
}

/// Links and the reason. `{P}` is a port at which the victim listens.
const LINKS: &[(&str, Why)] = &[
    // The victim's address as numbers are written.
    ("https://127.83.21.9:8443/", Why::Address),
    ("http://127.83.21.9:{P}/", Why::Address),
    ("https://127.83.21.9:{P}/", Why::Address),
    ("HTTPS://127.83.21.9:8443/", Why::Address),
    ("https://2136151305:8443/", Why::Address),
    ("http://2136151305:{P}/", Why::Address),
    ("https://0x7f531509:8443/", Why::Address),
    ("http://0x7F531509:{P}/", Why::Address),
    ("https://017724612411:8443/", Why::Address),
    ("http://017724612411:{P}/", Why::Address),
    ("https://0177.0123.025.011:8443/", Why::Address),
    ("https://0x7f.0x53.0x15.0x9:8443/", Why::Address),
    ("https://0x7f.83.025.9:8443/", Why::Address),
    ("https://127.5444873:8443/", Why::Address),
    ("https://127.83.5385:8443/", Why::Address),
    ("https://0x7f.5444873:8443/", Why::Address),
    ("https://0177.0x531509:8443/", Why::Address),
    ("https://00000177.083.21.9:8443/", Why::Malformed),
    ("https://127.83.21.9.:8443/", Why::Address),
    ("https://0000000000177.83.21.9:8443/", Why::Address),
    ("https://127.1/", Why::Address),
    ("https://0/", Why::Address),
    ("https://0.0.0.0:8443/", Why::Address),
    ("https://4294967295/", Why::Address),
    ("https://4294967296/", Why::Malformed),
    ("https://127.83.21.265:8443/", Why::Malformed),
    ("https://1.2.3.4.5/", Why::Malformed),
    ("https://127.83.21.0x/", Why::Address),
    // As letters are written.
    ("https://%31%32%37.%38%33.21.9:8443/", Why::Address),
    ("https://127%2e83%2e21%2e9:8443/", Why::Address),
    ("https://127。83。21。9:8443/", Why::Address),
    ("https://127．83．21．9:8443/", Why::Address),
    ("https://127｡83｡21｡9:8443/", Why::Address),
    ("https://①②⑦.⑧③.②①.⑨:8443/", Why::Address),
    ("https://１２７.８３.２１.９:8443/", Why::Address),
    ("https://𝟏𝟐𝟕.𝟖𝟑.𝟐𝟏.𝟗:8443/", Why::Address),
    ("https://127.83.21\u{ad}.9:8443/", Why::Address),
    ("https://0\u{fe0f}x7f531509:8443/", Why::Address),
    ("https://%2531%2532%2537.83.21.9:8443/", Why::Malformed),
    ("https://127.83.21.9%00.example.com:8443/", Why::Malformed),
    ("https://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ:8443/", Why::Name),
    ("https://LOCALHOST:8443/", Why::Name),
    // IPv6 and what is in it.
    ("https://[::1]:8443/", Why::Address),
    ("https://[0:0:0:0:0:0:0:1]:8443/", Why::Address),
    ("https://[::]:8443/", Why::Address),
    ("http://[::1]:{P}/", Why::Address),
    ("https://[::ffff:127.83.21.9]:8443/", Why::Address),
    ("http://[::ffff:127.83.21.9]:{P}/", Why::Address),
    ("https://[::ffff:7f53:1509]:8443/", Why::Address),
    ("https://[0:0:0:0:0:FFFF:7F53:1509]:8443/", Why::Address),
    ("https://[::127.83.21.9]:8443/", Why::Address),
    ("https://[::7f53:1509]:8443/", Why::Address),
    ("https://[::ffff:0:127.83.21.9]:8443/", Why::Address),
    ("https://[64:ff9b::127.83.21.9]:8443/", Why::Address),
    ("https://[64:ff9b::7f53:1509]:8443/", Why::Address),
    ("https://[64:ff9b::a9fe:a9fe]/latest/meta-data/", Why::Address),
    ("https://[64:ff9b::10.0.0.1]/", Why::Address),
    ("https://[64:ff9b:1::7f53:1509]:8443/", Why::Address),
    ("https://[2002:7f53:1509::]:8443/", Why::Address),
    ("https://[2002:a9fe:a9fe::1]/", Why::Address),
    ("https://[2001:0:7f53:1509::80ac:eaf6]/", Why::Address),
    ("https://[2606:4700::5efe:127.83.21.9]/", Why::Address),
    ("https://[2606:4700::200:5efe:10.0.0.1]/", Why::Address),
    ("https://[fd00:ec2::254]/latest/meta-data/", Why::Address),
    ("https://[fd20:ce::254]/", Why::Address),
    ("https://[fc00::1]/", Why::Address),
    ("https://[fe80::1]/", Why::Address),
    ("https://[fec0::1]/", Why::Address),
    ("https://[ff02::1]/", Why::Address),
    ("https://[2001:db8::1]/", Why::Address),
    ("https://[3fff::1]/", Why::Address),
    ("https://[100::1]/", Why::Address),
    ("https://[2001:10::1]/", Why::Address),
    ("https://[4000::1]/", Why::Address),
    ("https://[fe80::1%25eth0]/", Why::Malformed),
    ("https://[::1%25lo]:8443/", Why::Malformed),
    ("https://[::ffff:127.83.21]:8443/", Why::Malformed),
    ("https://[::1/", Why::Malformed),
    // What lies behind other addresses.
    ("https://169.254.169.254/latest/meta-data/iam/security-credentials/", Why::Address),
    ("http://169.254.169.254/latest/meta-data/", Why::Address),
    ("https://2852039166/latest/meta-data/", Why::Address),
    ("https://0xa9fea9fe/", Why::Address),
    ("https://169.254.170.2/v2/credentials", Why::Address),
    ("https://100.100.100.200/latest/meta-data/", Why::Address),
    ("https://168.63.129.16/machine", Why::Address),
    ("https://192.0.0.192/latest/", Why::Address),
    ("https://10.0.0.1/", Why::Address),
    ("https://172.16.0.1/", Why::Address),
    ("https://172.31.255.255/", Why::Address),
    ("https://192.168.0.1/", Why::Address),
    ("https://198.18.0.1/", Why::Address),
    ("https://192.0.2.1/", Why::Address),
    ("https://224.0.0.1/", Why::Address),
    ("https://240.0.0.1/", Why::Address),
    ("https://255.255.255.255/", Why::Address),
    // Names.
    ("https://victim.test:8443/", Why::Name),
    ("https://VICTIM.test:8443/", Why::Name),
    ("https://v%69ctim.test:8443/", Why::Name),
    ("https://bücher.test:8443/", Why::Name),
    ("https://victim_9.test:8443/", Why::Name),
    ("https://127.83.21.9.nip.test:8443/", Why::Name),
    ("https://localhost:8443/", Why::Name),
    ("https://localhost.:8443/", Why::Name),
    ("https://victim.localhost:8443/", Why::Name),
    ("https://intranet/", Why::Name),
    ("https://private.test/", Why::Name),
    ("https://middle.test/", Why::Name),
    ("https://shared.test/", Why::Name),
    ("https://metadata.test/", Why::Name),
    ("https://metadata.google.internal/computeMetadata/v1/", Why::Name),
    ("https://azure.test/", Why::Name),
    ("https://zero.test:8443/", Why::Name),
    ("https://broadcast.test/", Why::Name),
    ("https://multicast.test/", Why::Name),
    ("https://benchmark.test/", Why::Name),
    ("https://documentation.test/", Why::Name),
    ("https://loopback6.test:8443/", Why::Name),
    ("https://unspecified6.test:8443/", Why::Name),
    ("https://unique.test/", Why::Name),
    ("https://link.test/", Why::Name),
    ("https://site.test/", Why::Name),
    ("https://mapped.test:8443/", Why::Name),
    ("https://compatible.test:8443/", Why::Name),
    ("https://nat64.test:8443/", Why::Name),
    ("https://nat64-local.test:8443/", Why::Name),
    ("https://six-to-four.test:8443/", Why::Name),
    ("https://teredo.test/", Why::Name),
    ("https://isatap.test/", Why::Name),
    ("https://mixed.test:8443/", Why::Name),
    ("https://mixed-first.test:8443/", Why::Name),
    ("https://mixed6.test:8443/", Why::Name),
    // Without TLS, and at other ports.
    ("http://public.test/", Why::PlainHttp),
    ("http://8.8.8.8/", Why::PlainHttp),
    ("http://[2606:4700:4700::1111]/", Why::PlainHttp),
    ("http://victim.test:{P}/", Why::PlainHttp),
    ("http://public.test:443/", Why::PlainHttp),
    ("https://victim.test:{P}/", Why::Port),
    ("https://public.test:22/", Why::Port),
    ("https://public.test:25/", Why::Port),
    ("https://8.8.8.8:6379/", Why::Port),
    ("https://public.test:80/", Why::Port),
    ("https://public.test:0/", Why::Port),
    ("https://public.test:65536/", Why::Malformed),
    ("https://public.test:-1/", Why::Malformed),
    // Who reads what as the host?
    ("https://example.com@127.83.21.9:8443/", Why::UserInfo),
    ("https://127.83.21.9:8443@public.test/", Why::UserInfo),
    ("https://user:password@public.test/", Why::UserInfo),
    ("https://:password@public.test/", Why::UserInfo),
    ("https://public.test:443@@127.83.21.9:8443/", Why::UserInfo),
    ("https://%75ser@public.test/", Why::UserInfo),
    ("https://public.test\\@127.83.21.9:8443/", Why::Characters),
    ("https:\\\\127.83.21.9:8443\\", Why::Characters),
    ("https://public.test&@127.83.21.9:8443#@public.test/", Why::UserInfo),
    ("https://127.83.21.9:8443#@public.test/", Why::Address),
    ("https://127.83.21.9:8443?@public.test/", Why::Address),
    ("https://127.83.21.9:8443/@public.test/", Why::Address),
    ("https:127.83.21.9:8443/", Why::Address),
    ("https:///127.83.21.9:8443/", Why::Address),
    ("https:////127.83.21.9:8443/", Why::Address),
    (" https://127.83.21.9:8443/", Why::Characters),
    ("https://127.83.21.9:8443/\u{a0}", Why::Characters),
    ("https://127.83.\t21.9:8443/", Why::Characters),
    ("ht\ntps://127.83.21.9:8443/", Why::Characters),
    ("https://public.test/ HTTP/1.1\r\nHost: 127.83.21.9", Why::Characters),
    ("https://public.test/\r\nX-Header: 1", Why::Characters),
    ("https://public.test/\u{0}", Why::Characters),
    ("https://127.83.21.9\u{2028}:8443/", Why::Characters),
    ("https://[public.test]/", Why::Malformed),
    ("https://public..test/", Why::Malformed),
    ("https://.public.test/", Why::Malformed),
    ("https://public.test../", Why::Malformed),
    ("https://pub*lic.test/", Why::Malformed),
    ("https://public.test,127.83.21.9/", Why::Malformed),
    ("https://public%20test/", Why::Malformed),
    ("https://$(hostname).test/", Why::Malformed),
    // Other kinds of links.
    ("file:///etc/passwd", Why::Scheme),
    ("file://127.83.21.9/etc/passwd", Why::Scheme),
    ("gopher://127.83.21.9:70/_GET%20/", Why::Scheme),
    ("ftp://127.83.21.9/", Why::Scheme),
    ("dict://127.83.21.9:11211/stat", Why::Scheme),
    ("ldap://127.83.21.9/", Why::Scheme),
    ("tftp://127.83.21.9/x", Why::Scheme),
    ("ws://127.83.21.9/", Why::Scheme),
    ("wss://public.test/", Why::Scheme),
    ("jar:https://public.test!/", Why::Scheme),
    ("unix:///run/docker.sock", Why::Scheme),
    ("http+unix://%2Frun%2Fdocker.sock/", Why::Scheme),
    ("data:image/png;base64,AAAA", Why::Scheme),
    ("javascript:alert(1)", Why::Scheme),
    ("view-source:https://public.test/", Why::Scheme),
    ("blob:https://public.test/x", Why::Scheme),
    ("about:blank", Why::Scheme),
    ("localhost:8443/", Why::Scheme),
    // No links.
    ("", Why::Malformed),
    ("//127.83.21.9:8443/", Why::Malformed),
    ("/etc/passwd", Why::Malformed),
    ("127.83.21.9:8443", Why::Malformed),
    ("https://", Why::Malformed),
    ("https://:8443/", Why::Malformed),
    ("https://?x", Why::Malformed),
    ("https", Why::Malformed),
    ("https://\u{202e}tset.cilbup/", Why::Malformed),
    ("https://xn--a/", Why::Malformed),
];

fn why(refusal: &UrlRefusal) -> Why {
    match refusal {
        UrlRefusal::Address { .. } => Why::Address,
        UrlRefusal::PlainHttp { .. } => Why::PlainHttp,
        UrlRefusal::Port { .. } => Why::Port,
        UrlRefusal::Scheme { .. } => Why::Scheme,
        UrlRefusal::UserInfo => Why::UserInfo,
        UrlRefusal::Characters => Why::Characters,
        UrlRefusal::Malformed => Why::Malformed,
        UrlRefusal::TooLong { .. } => Why::TooLong,
        UrlRefusal::Closed { .. } => panic!("nothing is closed"),
        UrlRefusal::Downgrade { .. } => panic!("no redirect"),
    }
}

/// What a client says to a link, by GET and by POST.
async fn refusals(egress: &Egress, link: &str) -> [FetchError; 2] {
    let url = match egress.policy().check(link) {
        Ok(url) => url,
        Err(refusal) => return [FetchError::Url(refusal.clone()), FetchError::Url(refusal)],
    };
    let limits = Limits { max_bytes: 10, ..LIMITS };
    let got = egress.get(&url, &limits).await.map(|_| ()).expect_err(link);
    let posted = egress.post_json(&url, HeaderMap::new(), "{}".into(), &limits).await.map(|_| ()).expect_err(link);
    [got, posted]
}

#[tokio::test]
async fn hostile_links_are_refused_and_none_is_sent() {
    let victim = Server::start((VICTIM, 0), |_| Reply::ok("secret")).await.unwrap();
    // A port that is called on the public internet too; not all machines let a test have it.
    let victim_tls = Server::start((VICTIM, 8443), |_| Reply::ok("secret")).await.ok();
    let names = Names::of(NAMES);
    let port = victim.address.port().to_string();
    // Nothing is open; or something is that none of the links leads to, so that plain HTTP and other ports are looked into too.
    let clients = [egress(&[], &names), egress(&["127.77.0.0/16", "fd77::/16"], &names)];
    let mut links: Vec<(String, Why)> = LINKS.iter().map(|(link, why)| (link.replace("{P}", &port), *why)).collect();
    links.push((format!("https://public.test/{}", "a".repeat(4096)), Why::TooLong));
    links.push((format!("https://{}.test/", "a".repeat(64)), Why::Malformed));
    links.push((format!("https://{}test/", "a.".repeat(126)), Why::Malformed));
    for (link, expected) in &links {
        for (number, egress) in clients.iter().enumerate() {
            for error in refusals(egress, link).await {
                let found = match &error {
                    FetchError::Url(refusal) => why(refusal),
                    FetchError::NoAddress { is_refused: true, .. } => Why::Name,
                    other => panic!("{link}: {other:?}"),
                };
                // Where something is open, a name is looked up before its port is refused.
                let is_later = number == 1 && matches!(expected, Why::PlainHttp | Why::Port) && found == Why::Name;
                assert!(found == *expected || is_later, "{link:?}: {found:?} instead of {expected:?}: {error}");
                // A name that is refused looks like one that is unknown, in how often it is tried too.
                let expected = if found == Why::Name { Failure::NotSent } else { Failure::Refused };
                assert_eq!(error.failure(), expected, "{link}");
                assert!(!error.to_string().contains('\n') && error.to_string().chars().count() < 450, "{error}");
                if found == Why::Name {
                    let shown = error.to_string();
                    assert!(shown.ends_with("has no address that this server may call"), "{shown}");
                    assert!(!causes(&error).contains("https://"), "{}", causes(&error));
                }
            }
        }
    }
    println!("{} hostile links, {} requests refused, {} names looked up", links.len(), links.len() * 4, names.asked().len());
    assert!(links.len() >= 100);
    assert_eq!(victim.connections().await, 0);
    if let Some(victim_tls) = victim_tls {
        assert_eq!(victim_tls.connections().await, 0);
    }
}

#[tokio::test]
async fn links_that_were_judged_by_other_rules_are_judged_again() {
    let victim = Server::start((VICTIM, 0), |_| Reply::ok("secret")).await.unwrap();
    let lenient = EgressPolicy::new(vec!["127.83.21.9/32".parse().unwrap()]);
    let strict = egress(&[], &Names::of(&[]));
    let directory = tempfile::tempdir().unwrap();
    for scheme in ["http", "https"] {
        let url = lenient.check(&format!("{scheme}://{}/", victim.address)).unwrap();
        let errors = [
            strict.get(&url, &LIMITS).await.map(|_| ()).unwrap_err(),
            strict.get_to_file(&url, &LIMITS, &directory.path().join("x")).await.map(|_| ()).unwrap_err(),
            strict.post_json(&url, HeaderMap::new(), "{}".into(), &LIMITS).await.map(|_| ()).unwrap_err(),
        ];
        for error in errors {
            assert!(matches!(error, FetchError::Url(UrlRefusal::Address { .. })), "{error:?}");
        }
    }
    assert_eq!(victim.connections().await, 0);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn the_same_links_are_sent_where_the_operator_opened_the_network() {
    let victim = Server::start((VICTIM, 0), |_| Reply::ok("picture")).await.unwrap();
    let names = Names::of(NAMES);
    let egress = egress(&["127.83.21.9/32"], &names);
    let port = victim.address.port();
    let links = ["127.83.21.9", "2136151305", "0x7f.83.025.9", "victim.test", "bücher.test"];
    for host in links {
        let url = egress.policy().check(&format!("http://{host}:{port}/")).unwrap();
        assert_eq!(egress.get(&url, &LIMITS).await.unwrap().bytes.as_ref(), b"picture", "{host}");
    }
    assert_eq!(victim.connections().await, links.len());
    // The same address, which a machine without IPv6 cannot call in this form.
    assert!(egress.policy().check(&format!("http://[::ffff:127.83.21.9]:{port}/")).is_ok());
    // Its relatives are not.
    for host in ["[::127.83.21.9]", "[64:ff9b::127.83.21.9]", "[2002:7f53:1509::]", "127.83.21.8"] {
        let refusal = egress.policy().check(&format!("http://{host}:{port}/")).unwrap_err();
        assert_eq!(why(&refusal), Why::Address, "{host}");
    }
    for host in ["mixed.test", "nat64.test", "compatible.test", "public.test", "localhost"] {
        let url = egress.policy().check(&format!("http://{host}:{port}/")).unwrap();
        let error = egress.get(&url, &LIMITS).await.unwrap_err();
        assert!(matches!(error, FetchError::NoAddress { is_refused: true, .. }), "{host}: {error:?}");
    }
    assert_eq!(victim.connections().await, links.len());
}

#[tokio::test]
async fn tls_is_spoken_where_it_is_asked_for() {
    let listener = TcpListener::bind((VICTIM, 0)).await.unwrap();
    let names = Names::of(NAMES);
    let egress = egress(&["127.83.21.9/32"], &names);
    let url = egress.policy().check(&format!("https://victim.test:{}/", listener.local_addr().unwrap().port())).unwrap();
    let first_byte = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_u8().await.unwrap()
    };
    let (result, first_byte) = tokio::join!(egress.get(&url, &LIMITS), first_byte);
    // A TLS record with a handshake (RFC 8446, 5.1). The connection ends after it.
    assert_eq!(first_byte, 22);
    assert!(matches!(result, Err(FetchError::Unreachable { .. })), "{result:?}");
}

#[tokio::test]
async fn names_without_addresses_look_like_refused_ones() {
    let names = Names::of(NAMES);
    let egress = egress(&[], &names);
    let mut shown = Vec::new();
    for host in ["unknown.test", "empty.test", "intranet"] {
        let url = egress.policy().check(&format!("https://{host}/?signature=abc")).unwrap();
        let error = egress.get(&url, &LIMITS).await.unwrap_err();
        assert!(!causes(&error).contains("signature"), "{}", causes(&error));
        shown.push(error.to_string().replace(host, "HOST"));
        assert_eq!(error.failure(), Failure::NotSent);
    }
    assert_eq!(shown, vec!["'HOST' has no address that this server may call"; 3]);
}
