//! Authorisation of people with JWTs, as pusher-js asks for it.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use fanfare::config::{AllowConfig, AuthConfig, JwtAlgorithm, RuleConfig};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{Answer, Client, HttpClient, KEY, TestServer, now, soon};

pub(crate) const JWT_SECRET: &str = "what the issuer and this server share";

/// An RSA key of this test alone, as an RSAPrivateKey of RFC 8017.
const RSA_KEY: &str = "\
MIIEowIBAAKCAQEAmjzSunMhj+cQfLei1uobTq5g0k6rXqwSXAp7uy9uHyxXlODweZkj1oZahbS/\
0LY5JAHI3L+7j75KPZXOKIzjDjPKfDXOneRsSE8QTAGjuWFhvlIUtaMabclS2VoKIQzugFDhAffC\
MFGZ+F8zBl3aMP3hw6nhAl5PwpKEM+iUKQzt2owNxTQ/KgJLHb8n8rSg8vMypLXbo5cIvJ6Fv7DP\
N7eG1VzVjSysJ7F2SuRsSiXBr0guL9t8NLc28P8U7FBIgj4qpbT6f3AYah+u9h2r6tgmb+48obR0\
woEsqY06byVf9kD01szIq9X8v2xbtijbMytd6CrEktO2uxDFCAGVJQIDAQABAoIBAEZyE1l/bkvY\
oIomIaUBZhmIwcYskk76TqRlUWAMaMKqMRJZrtwLGvhHgx7gkF+WawDMI97XX6Zmpmf8fR2+Q5Jg\
C1KyDL3G78ITAoGEmi/4j3kq6jSP22lbc5C8dDXmPySyTCLm83W4P5fWe2qkAR0xSCVi+NdpFgrr\
eqBu0QTyIdxtHPO0blfNHI2Oi2ozWljogD49CuBwdjbEHVU8a8YO8MeF4bs+t43TpST4UWWwm8js\
xA39C0rtWhUmPsMRJ63D69GP20iLGfdX1UIekm9O6jxQtRV9Q5/XSYyP638FX9ciBaVRDMHOsoPE\
TiRV0DQawsguBknWzSjTyNboyR0CgYEA1MKev+8RucH3vIiPhg3hfnmjwHdCZW3iPYLvYs2idUBA\
RSVkxJfCmnnghx+2fmAD49viRi06c33Mdq2EiMWQvf/OkOyEvKCtdn6O3b/kHt5mcvdI7dJNFxcM\
4FdNeKRLLfxD7iQKTJhvOWPfRHsn94SMa1XYP2D2797U0h1UlOsCgYEAuZVqw9gxVWHsH9cSu+U6\
i8caxTCPyVOnaYmYYt0JSc6YoSvcylThnd/WbwfljAX6nYYl1OXOdlBvrEFSGF/YT6KfRnp56eYh\
EppuM0zSYNMzIHYmHwaqp80koP3d4ehD54yEtmElfKz5POadgO7evlNmo6ilVorbt2AAgyf3Oi8C\
gYBuY0fgh5anzXbO7/+fawZLC6uliXr+i0Ot7IhtuAmJUjvGZH9i7OaAJaoUEaUq7oA2Mfi1tnO0\
RlnWXXL9T5woqFexo7W+9JLrfwB7FzuxtGxtS9Yf5lQvHbuFjmZYqM2E33UTUsmxMgnLOgE2U7vJ\
1ZDRg+m+AH4+uFutZKBk3wKBgAE1iwOJphCjWbF/ajzVKoN8oZ0FSvqJ0/5pChgizouvj+kE6yRa\
Vzn7Gl+Q0psN8usR069GbAjzTzb1Gf7UqQkjyxvfcmnmuPJxFSS6bGh7F8svWeI73eLIAGQYI1j0\
dXTNwpOZoG/mhJ0z93S+ma7txi5sy977eqEAPCCeowq7AoGBANFvhRUYDDh5lyLuZHSGvEr7/xIC\
gDnMRIyTi0mNUTGoIx2+RQQgSMlrlnKEDAKMal6jo56iO2saK+K+ePihaVTdqPhebrGpc0MUD6/3\
bn+2P5HWqKO8L3EqOYs6PCeK9wsk2BBAg8o1Eu9MAZ05LveqVfXCRZ4BznpjsVQVeuAN";

/// The three parts of a JWT, signed with `sign`.
fn jwt(head: &Value, claims: &Value, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}", part(head), part(claims));
    let signature = URL_SAFE_NO_PAD.encode(sign(text.as_bytes()));
    format!("{text}.{signature}")
}

/// A token of our issuer for an hour.
pub(crate) fn token(claims: Value) -> String {
    token_for(claims, 3_600)
}

fn token_for(claims: Value, seconds: u64) -> String {
    let mut claims = claims;
    claims["exp"] = json!(now() + seconds);
    hs256(&claims, JWT_SECRET)
}

fn hs256(claims: &Value, secret: &str) -> String {
    jwt(&json!({"alg": "HS256", "typ": "JWT"}), claims, |text| {
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
        ring::hmac::sign(&key, text).as_ref().to_vec()
    })
}

pub(crate) fn anyone() -> AllowConfig {
    AllowConfig {
        anyone: true,
        ..AllowConfig::default()
    }
}

fn roles(roles: &[&str]) -> AllowConfig {
    AllowConfig {
        roles: roles.iter().map(|role| (*role).to_owned()).collect(),
        ..AllowConfig::default()
    }
}

async fn server(change: impl FnOnce(&mut AuthConfig)) -> TestServer {
    TestServer::with(|config| {
        config.auth = AuthConfig {
            enabled: true,
            jwt_secret: Some(JWT_SECRET.into()),
            rules: vec![
                RuleConfig::new("news", vec![anyone()]),
                RuleConfig::new("order:*", vec![roles(&["cook"])]),
            ],
            ..AuthConfig::default()
        };
        change(&mut config.auth);
    })
    .await
}

/// What pusher-js sends for a subscription.
fn form(socket_id: &str, channel: &str) -> String {
    form_urlencoded::Serializer::new(String::new())
        .append_pair("socket_id", socket_id)
        .append_pair("channel_name", channel)
        .finish()
}

/// A `POST` with these headers, and the host that the server has.
async fn post(server: &TestServer, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    request(server, "POST", path, headers, body).await
}

async fn request(
    server: &TestServer,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let host = server.address.to_string();
    let mut all = vec![
        ("Host", host.as_str()),
        ("Content-Type", "application/x-www-form-urlencoded"),
    ];
    all.extend(headers);
    let stream = TcpStream::connect(server.address).await.unwrap();
    HttpClient::new(stream)
        .await
        .send_with(method, path, &all, body)
        .await
}

/// The answer to a person who wants to subscribe.
pub(crate) async fn ask(
    server: &TestServer,
    token: &str,
    socket_id: &str,
    channel: &str,
) -> Answer {
    let bearer = format!("Bearer {token}");
    post(
        server,
        "/pusher/auth",
        &[("Authorization", &bearer)],
        &form(socket_id, channel),
    )
    .await
}

/// Subscribes as pusher-js does: asks for the signature, and sends it. Returns the
/// success.
pub(crate) async fn subscribe(
    server: &TestServer,
    client: &mut Client,
    token: &str,
    channel: &str,
) -> Value {
    let answer = ask(server, token, client.socket_id(), channel).await;
    assert_eq!(answer.status, 200, "{channel}: {}", answer.body);
    let mut data = answer.json();
    data["channel"] = json!(channel);
    client
        .send(&json!({"event": "pusher:subscribe", "data": data}))
        .await;
    client
        .next_data("pusher_internal:subscription_succeeded", channel)
        .await
}

/// Somebody else's HTTP server: answers by path, and notes what it was asked.
pub(crate) struct Elsewhere {
    address: SocketAddr,
    answers: Arc<Mutex<HashMap<String, (u16, String)>>>,
    requests: Arc<Mutex<Vec<(String, String)>>>,
}

impl Elsewhere {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let elsewhere = Self {
            address: listener.local_addr().unwrap(),
            answers: Arc::default(),
            requests: Arc::default(),
        };
        let answers = Arc::clone(&elsewhere.answers);
        let requests = Arc::clone(&elsewhere.requests);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (answers, requests) = (Arc::clone(&answers), Arc::clone(&requests));
                let service = service_fn(move |request: Request<Incoming>| {
                    let (answers, requests) = (Arc::clone(&answers), Arc::clone(&requests));
                    async move {
                        let path = request.uri().path().to_owned();
                        let body = request.into_body().collect().await.unwrap().to_bytes();
                        let body = String::from_utf8(body.to_vec()).unwrap();
                        requests.lock().unwrap().push((path.clone(), body));
                        let known = answers.lock().unwrap().get(&path).cloned();
                        let (status, body) = known.unwrap_or((500, String::new()));
                        let answer = Response::builder().status(status);
                        Ok::<_, Infallible>(answer.body(Full::new(Bytes::from(body))).unwrap())
                    }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        elsewhere
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn set(&self, path: &str, status: u16, body: &str) {
        let answer = (status, body.to_owned());
        self.answers.lock().unwrap().insert(path.to_owned(), answer);
    }

    pub(crate) fn requests(&self) -> Vec<(String, String)> {
        self.requests.lock().unwrap().clone()
    }
}

#[tokio::test]
async fn a_token_opens_what_the_rules_say() {
    let server = server(|_| {}).await;
    let cook = token(json!({"sub": 7, "name": "Анна", "role": "cook", "phone": "+992"}));
    let mut client = server.connect().await;

    subscribe(&server, &mut client, &cook, "private-order;77").await;
    server.trigger("private-order;77", "order.ready", "1").await;
    assert_eq!(client.next().await["event"], "order.ready");

    let joined = subscribe(&server, &mut client, &cook, "presence-news").await;
    assert_eq!(
        joined["presence"],
        json!({"ids": ["7"], "count": 1, "hash": {"7": {"userId": "7", "name": "Анна", "role": "cook"}}})
    );
}

#[tokio::test]
async fn a_token_signs_in() {
    let server = server(|_| {}).await;
    let bearer = format!("Bearer {}", token(json!({"userId": "u1", "role": "cook"})));
    let mut client = server.connect().await;
    let form = form(client.socket_id(), "");

    let answer = post(
        &server,
        "/pusher/user-auth",
        &[("Authorization", &bearer)],
        &form,
    )
    .await;

    assert_eq!(answer.status, 200, "{}", answer.body);
    client
        .send(&json!({"event": "pusher:signin", "data": answer.json()}))
        .await;
    let message = client.next().await;
    assert_eq!(message["event"], "pusher:signin_success", "{message}");
    let data: Value = serde_json::from_str(message["data"].as_str().unwrap()).unwrap();
    let user: Value = serde_json::from_str(data["user_data"].as_str().unwrap()).unwrap();
    assert_eq!(
        user,
        json!({"id": "u1", "user_info": {"userId": "u1", "role": "cook"}})
    );
}

/// Gets what opens `channel`, or signs in when there is none, and returns what is to be
/// sent.
async fn opening(server: &TestServer, token: &str, client: &Client, channel: &str) -> Value {
    let (path, event) = match channel {
        "" => ("/pusher/user-auth", "pusher:signin"),
        _ => ("/pusher/auth", "pusher:subscribe"),
    };
    let bearer = format!("Bearer {token}");
    let form = form(client.socket_id(), channel);
    let answer = post(server, path, &[("Authorization", &bearer)], &form).await;
    assert_eq!(answer.status, 200, "{channel}: {}", answer.body);
    let mut data = answer.json();
    data["channel"] = json!(channel);
    json!({"event": event, "data": data})
}

/// The node that answers the page is not the one with its connection, and they know
/// nothing of each other.
#[tokio::test]
async fn a_connection_ends_with_the_token_that_opened_something_on_it() {
    let answering = server(|auth| {
        auth.leeway = 0;
        auth.disconnect_on_expiry = true;
    })
    .await;
    let server = TestServer::start().await;
    let lasting = token(json!({"sub": "1"}));
    let mut other = server.connect().await;
    other
        .send(&opening(&answering, &lasting, &other, "private-news").await)
        .await;
    other.next().await;

    for channel in ["private-news", "presence-news", ""] {
        let mut client = server.connect().await;
        client.subscribe("public").await;
        let short = token_for(json!({"sub": "1"}), 2);
        client
            .send(&opening(&answering, &short, &client, channel).await)
            .await;
        let opened = client.next().await;
        assert!(
            opened["event"].as_str().unwrap().contains("succe"),
            "{opened}"
        );
        // A later token does not make it last: it may be somebody else's.
        let later = opening(&answering, &lasting, &client, "private-news").await;
        if channel != "private-news" {
            client.send(&later).await;
            client.next().await;
        }

        assert_eq!(client.closed().await, (4009, "Token expired".to_owned()));
    }
    other.receives_nothing_before_pong().await;
}

#[tokio::test]
async fn the_end_of_a_signature_cannot_be_taken_away_or_moved() {
    let server = server(|auth| auth.disconnect_on_expiry = true).await;
    let short = token_for(json!({"sub": "1"}), 60);
    for channel in ["private-news", "presence-news", ""] {
        let mut client = server.connect().await;
        let good = opening(&server, &short, &client, channel).await;
        let auth = good["data"]["auth"].as_str().unwrap();
        let parts: Vec<&str> = auth.split(':').collect();
        let [key, signature, end] = parts[..] else {
            panic!("{auth}");
        };
        let end: u64 = end.parse().unwrap();

        for forged in [
            format!("{key}:{signature}"),
            format!("{key}:{signature}:"),
            format!("{key}:{signature}:{}", end + 1),
            format!("{key}:{signature}:{}", u64::MAX),
            format!("{key}:{signature}:{end}:{end}"),
            format!("{key}:{signature}:{end}99999999999999999999"),
            format!("{key}:{end}:{signature}"),
        ] {
            let mut bad = good.clone();
            bad["data"]["auth"] = json!(forged);
            client.send(&bad).await;
            let error = client.next_error_text().await;
            assert!(error.contains("Invalid signature"), "{forged}: {error}");
            if channel.is_empty() {
                continue;
            }
            let told = client.next().await;
            assert_eq!(told["event"], "pusher:subscription_error", "{forged}");
        }
        // Nor does it help to have the end signed as data.
        let mut bad = good.clone();
        bad["data"]["auth"] = json!(format!("{key}:{signature}"));
        bad["data"]["channel_data"] = json!(format!("until:{end}"));
        client.send(&bad).await;
        assert!(client.next_error_text().await.contains("nvalid"));
    }
}

#[tokio::test]
async fn whoever_may_not_is_told_why_with_the_right_status() {
    let server = server(|_| {}).await;
    let guest = token(json!({"sub": "1", "role": "guest"}));
    let expired = hs256(&json!({"sub": "1", "exp": now() - 60}), JWT_SECRET);
    let forged = hs256(&json!({"sub": "1", "exp": now() + 60}), "guessed");
    for (token, channel, status, text) in [
        (
            guest.as_str(),
            "private-order;7",
            403,
            "No rule allows private-order;7",
        ),
        (
            &guest,
            "private-unknown",
            403,
            "No rule allows private-unknown",
        ),
        (&guest, "private-=bmV3cw", 400, "canonical"),
        (&guest, "news", 400, "canonical"),
        (&guest, "private-encrypted-news", 400, "canonical"),
        (&guest, "private-a b", 400, "canonical"),
        (&guest, "", 400, "canonical"),
        (&expired, "private-news", 401, "expired"),
        (&forged, "private-news", 401, "signature"),
        ("nonsense", "private-news", 401, "not a JWT"),
    ] {
        let answer = ask(&server, token, "1.1", channel).await;

        assert_eq!(answer.status, status, "{channel}: {}", answer.body);
        assert!(answer.body.contains(text), "{}", answer.body);
        assert!(!answer.body.contains(token), "{}", answer.body);
        assert_eq!(
            answer.headers.get("www-authenticate").is_some(),
            status == 401
        );
    }
    let bearer = format!("Bearer {guest}");
    let headers = [("Authorization", bearer.as_str())];
    for (body, status) in [
        ("", 400),
        ("socket_id=x&channel_name=private-news", 400),
        ("\u{0}=%%%&&&", 400),
    ] {
        let answer = post(&server, "/pusher/auth", &headers, body).await;
        assert_eq!(answer.status, status, "{}", answer.body);
    }
    let large = format!("socket_id=1.1&x={}", "x".repeat(33_000));
    assert_eq!(
        post(&server, "/pusher/auth", &headers, &large).await.status,
        413
    );
    assert_eq!(
        post(&server, "/pusher/auth", &[], &form("1.1", "private-news"))
            .await
            .status,
        401
    );
    let get = request(&server, "GET", "/pusher/auth", &headers, "").await;
    assert_eq!(
        (get.status, get.headers["allow"].to_str().unwrap()),
        (405, "POST, OPTIONS")
    );
}

#[tokio::test]
async fn the_endpoints_are_not_there_unless_they_are_on() {
    let server = TestServer::start().await;

    let answer = ask(&server, "x", "1.1", "private-news").await;

    assert_eq!(answer.status, 404);
}

#[tokio::test]
async fn pages_of_other_origins_need_to_be_listed() {
    let server = server(|auth| {
        auth.cookies = vec!["access_token".to_owned()];
        auth.allowed_origins = vec!["https://shop.example".to_owned()];
    })
    .await;
    let cookie = format!("access_token={}", token(json!({"sub": "1"})));
    let form = form("1.1", "private-news");
    let own = format!("http://{}", server.address);
    for (origin, status, allowed) in [
        ("https://shop.example", 200, Some("https://shop.example")),
        (own.as_str(), 200, Some(own.as_str())),
        ("https://shop.example.evil", 403, None),
        ("null", 403, None),
    ] {
        let headers = [("Origin", origin), ("Cookie", cookie.as_str())];
        let answer = post(&server, "/pusher/auth", &headers, &form).await;

        let header = |name: &str| {
            answer
                .headers
                .get(name)
                .map(|value| value.to_str().unwrap())
        };
        assert_eq!(answer.status, status, "{origin}: {}", answer.body);
        assert_eq!(header("access-control-allow-origin"), allowed);
        assert_eq!(
            header("access-control-allow-credentials"),
            allowed.map(|_| "true")
        );
    }

    let wish = [
        ("Origin", "https://shop.example"),
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "authorization"),
    ];
    let preflight = request(&server, "OPTIONS", "/pusher/auth", &wish, "").await;
    assert_eq!(preflight.status, 204);
    assert_eq!(preflight.headers["access-control-allow-methods"], "POST");
    assert_eq!(
        preflight.headers["access-control-allow-headers"],
        "authorization"
    );
}

#[tokio::test]
async fn an_address_may_only_ask_so_often() {
    let server = server(|auth| auth.requests_per_minute = 3).await;
    let token = token(json!({"sub": "1"}));
    for _ in 0..3 {
        assert_eq!(
            ask(&server, &token, "1.1", "private-news").await.status,
            200
        );
    }

    let answer = ask(&server, &token, "1.1", "private-news").await;

    assert_eq!(answer.status, 429);
    assert!(answer.headers.contains_key("retry-after"));
}

#[tokio::test]
async fn public_keys_are_fetched_once_and_found_by_their_id() {
    let issuer = Elsewhere::start().await;
    let (rsa, rsa_jwk) = rsa_key("r1");
    let (first, first_jwk) = ec_key("e1");
    issuer.set(
        "/keys",
        200,
        &json!({"keys": [rsa_jwk, first_jwk, {"kty": "oct", "kid": "o", "k": "c2VjcmV0"}]})
            .to_string(),
    );
    let server = server(|auth| {
        auth.algorithms = vec![JwtAlgorithm::Rs256, JwtAlgorithm::Es256];
        auth.jwks_url = Some(issuer.url("/keys"));
    })
    .await;
    let claims = json!({"sub": "1", "exp": now() + 60});
    let status = async |token: &str| ask(&server, token, "1.1", "private-news").await.status;
    let random = SystemRandom::new();
    let es256 = |key: &EcdsaKeyPair, kid: &str| {
        jwt(&json!({"alg": "ES256", "kid": kid}), &claims, |text| {
            key.sign(&random, text).unwrap().as_ref().to_vec()
        })
    };
    let rs256 = jwt(&json!({"alg": "RS256", "kid": "r1"}), &claims, |text| {
        let mut signature = vec![0; rsa.public().modulus_len()];
        rsa.sign(&RSA_PKCS1_SHA256, &random, text, &mut signature)
            .unwrap();
        signature
    });

    assert_eq!(status(&rs256).await, 200);
    assert_eq!(status(&es256(&first, "e1")).await, 200);
    assert_eq!(issuer.requests().len(), 1, "the keys are remembered");
    // A public key is no secret, and a secret in a public set is none.
    assert_eq!(status(&hs256(&claims, "secret")).await, 401);
    assert_eq!(status(&hs256(&claims, JWT_SECRET)).await, 401);
    let (second, _) = ec_key("e2");
    for _ in 0..5 {
        assert_eq!(status(&es256(&second, "e2")).await, 401);
        assert_eq!(status(&es256(&second, "e1")).await, 401);
    }
    assert_eq!(
        issuer.requests().len(),
        1,
        "unknown keys ask every 10 s at most"
    );
}

#[tokio::test]
async fn a_back_end_is_asked_and_its_answer_remembered() {
    let back_end = Elsewhere::start().await;
    back_end.set("/may", 204, "");
    back_end.set("/may-not", 403, "");
    let ask_at = |path: &str| AllowConfig {
        url: Some(back_end.url(path)),
        ..AllowConfig::default()
    };
    let rules = vec![
        RuleConfig::new("a:*", vec![ask_at("/may")]),
        RuleConfig::new("b:*", vec![ask_at("/may-not")]),
        RuleConfig::new("c:*", vec![ask_at("/broken")]),
        RuleConfig::new("d:*", vec![ask_at("/broken"), anyone()]),
    ];
    let server = server(|auth| auth.rules = rules).await;
    let token = token(json!({"sub": "1", "role": "cook", "shop": 3}));

    for (channel, status) in [
        ("private-a;1", 200),
        ("private-a;1", 200),
        ("private-b;1", 403),
        ("private-b;1", 403),
        ("private-c;1", 503),
        ("private-d;1", 200),
    ] {
        assert_eq!(
            ask(&server, &token, "1.1", channel).await.status,
            status,
            "{channel}"
        );
    }

    let requests = back_end.requests();
    let paths: Vec<&str> = requests.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(paths, ["/may", "/may-not", "/broken", "/broken"]);
    let asked: Value = serde_json::from_str(&requests[0].1).unwrap();
    assert_eq!(
        (&asked["room"], &asked["user_id"], &asked["roles"]),
        (&json!("a:1"), &json!("1"), &json!(["cook"]))
    );
    assert_eq!(
        (
            &asked["channel"],
            &asked["socket_id"],
            &asked["claims"]["shop"]
        ),
        (&json!("private-a;1"), &json!("1.1"), &json!(3))
    );
}

/// A back end that hangs is given up, and others are served meanwhile.
#[tokio::test]
async fn a_back_end_that_hangs_is_given_up() {
    let hanging = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", hanging.local_addr().unwrap());
    let server = server(|auth| {
        auth.back_end_timeout = std::time::Duration::from_millis(50);
        let allow = AllowConfig {
            url: Some(url),
            ..AllowConfig::default()
        };
        auth.rules.push(RuleConfig::new("slow", vec![allow]));
    })
    .await;
    let token = token(json!({"sub": "1"}));

    let answer = soon(
        "the end of patience",
        ask(&server, &token, "1.1", "private-slow"),
    )
    .await;

    assert_eq!(answer.status, 503);
    assert_eq!(
        ask(&server, &token, "1.1", "private-news").await.json()["auth"]
            .as_str()
            .unwrap()
            .split(':')
            .next(),
        Some(KEY)
    );
}

fn rsa_key(kid: &str) -> (RsaKeyPair, Value) {
    let pair = RsaKeyPair::from_der(&STANDARD.decode(RSA_KEY).unwrap()).unwrap();
    let PublicKeyComponents::<Vec<u8>> { n, e } = pair.public().into();
    let jwk = json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid, "n": URL_SAFE_NO_PAD.encode(n), "e": URL_SAFE_NO_PAD.encode(e)});
    (pair, jwk)
}

fn ec_key(kid: &str) -> (EcdsaKeyPair, Value) {
    let random = SystemRandom::new();
    let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    let pair =
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random)
            .unwrap();
    let point = pair.public_key().as_ref();
    let jwk = json!({"kty": "EC", "crv": "P-256", "kid": kid, "x": URL_SAFE_NO_PAD.encode(&point[1..33]), "y": URL_SAFE_NO_PAD.encode(&point[33..])});
    (pair, jwk)
}
