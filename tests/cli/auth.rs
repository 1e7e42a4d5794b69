//! People with JWTs, as an operator sets them up.

use std::net::SocketAddr;
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::support::{ConfigFile, fanfare, output, soon, text};

/// The answer to a request with a JWT.
pub(super) async fn post(address: SocketAddr, path: &str, bearer: &str, body: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nAuthorization: Bearer {bearer}\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    soon("an answer", stream.read_to_string(&mut answer))
        .await
        .unwrap();
    answer
}

/// A token whose signature HMAC-SHA256 makes of `secret`.
pub(super) fn token(claims: &Value, secret: &str) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}", part(&json!({"alg": "HS256"})), part(claims));
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
    let signature = URL_SAFE_NO_PAD.encode(ring::hmac::sign(&key, text.as_bytes()));
    format!("{text}.{signature}")
}

const RULES: &str = "[auth]\nenabled = true\n[[auth.rules]]\nroom = \"operators\"\nallow = [{ roles = [\"operator\"] }]\n[[auth.rules]]\nroom = \"operator:*\"\nallow = [{ roles = [\"director\"] }, { own_segment = 1 }]\n";

#[tokio::test]
async fn no_secret_no_start() {
    let file = ConfigFile::new(RULES);
    for secret in [None, Some(("JWT_SECRET", ""))] {
        let mut serve = fanfare(&["serve", "--port", "0", "--metrics-port", "0"]);
        serve.args(["--config", file.path()]).envs(secret);

        let refused = output(&mut serve).await;

        assert_eq!(refused.status.code(), Some(2));
        assert_eq!(
            text(&refused.stderr),
            "fanfare: auth.jwt_secret is missing: expected the secret that your tokens are signed with; set JWT_SECRET, or auth.algorithms and auth.jwks_url for RS256 and ES256\n"
        );
    }
    let mut check = fanfare(&["check-config", "--config", file.path()]);
    let checked = output(check.env("JWT_SECRET", "precious")).await;
    assert_eq!(checked.status.code(), Some(0), "{}", text(&checked.stderr));
    assert!(!text(&checked.stdout).contains("precious"));
    assert!(text(&checked.stdout).contains("jwt_secret = \"..\""));
}

/// The names are so common that they belong to somebody else otherwise.
#[tokio::test]
async fn names_of_the_old_call_centre_count_where_it_is_served() {
    let names = [
        ("PORT", "5009"),
        ("WEBHOOK_TOKEN", "precious-token"),
        ("JWT_SECRET", "precious-secret"),
        ("CORS_ORIGIN", "http://localhost:3000,https://desk.example"),
        ("REDIS_HOST", "redis"),
        ("REDIS_PORT", "6380"),
        ("REDIS_PASSWORD", "precious@word"),
    ];
    let without = output(fanfare(&["check-config"]).envs(names)).await;
    let file = ConfigFile::new("[adapters.rooms]\nenabled = true\n");
    let with_file = output(fanfare(&["check-config", "--config", file.path()]).envs(names)).await;
    let mut check = fanfare(&["check-config"]);
    check
        .envs(names)
        .env("FANFARE_ADAPTERS_ROOMS_ENABLED", "true");
    let with_variable = output(&mut check).await;

    let config: toml::Table = text(&without.stdout).parse().unwrap();
    assert!(config["adapters"]["rooms"].get("port").is_none());
    assert!(config["engine"].get("url").is_none());
    for checked in [with_file, with_variable] {
        let printed = text(&checked.stdout);
        assert_eq!(checked.status.code(), Some(0), "{}", text(&checked.stderr));
        let config: toml::Table = printed.parse().unwrap();
        let rooms = &config["adapters"]["rooms"];
        assert_eq!(rooms["port"].as_integer(), Some(5009));
        assert_eq!(rooms["webhook_token"].as_str(), Some(".."));
        let url = config["engine"]["url"].as_str().unwrap();
        assert!(url.ends_with("@redis:6380/0"), "{url}");
        let origins = &config["apps"][0]["allowed_origins"];
        assert_eq!(origins.as_array().unwrap().len(), 2);
        assert!(
            printed.contains("#   REDIS_HOST sets engine.url\n"),
            "{printed}"
        );
        assert!(!printed.contains("precious"), "{printed}");
    }
}

#[tokio::test]
async fn auth_check_explains_a_decision_rule_by_rule() {
    let file = ConfigFile::new(RULES);
    let claims = json!({"sub": 7, "role": "operator", "exp": 4_102_444_800u64});
    let valid = token(&claims, "precious");
    let forged = token(&claims, "guessed");
    for (token, arguments, code, expected) in [
        (
            &valid,
            ["--room", "operator:7"],
            0,
            "channel private-operator;7 is the room operator:7\n\
             the token is valid: user \"7\", roles [\"operator\"]\n\
             rule 2 (operator:*) fits and decides\n\
             \x20 alternative 1: roles [\"operator\"] against [\"director\"]: no\n\
             \x20 alternative 2: user id \"7\" against segment \"7\": yes\n\
             allowed\n",
        ),
        (
            &valid,
            ["--channel", "private-operator;8"],
            1,
            "fanfare: refused (403)",
        ),
        (
            &valid,
            ["--channel", "private-anything"],
            1,
            "none of 2 rules fits: refused",
        ),
        (
            &valid,
            ["--channel", "private-=b3BlcmF0b3I;7"],
            1,
            "not the canonical name of a room",
        ),
        (
            &forged,
            ["--channel", "private-operators"],
            1,
            "fanfare: refused (401): the token's signature is wrong",
        ),
    ] {
        let mut check = fanfare(&["auth-check", "--config", file.path(), "--token", "-"]);
        check.args(arguments).env("JWT_SECRET", "precious");
        let mut child = check
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        // One that refuses before it reads has ended by now.
        let _ = input.write_all(token.as_bytes()).await;
        drop(input);
        let done = soon("the end of the command", child.wait_with_output())
            .await
            .unwrap();

        let told = format!("{}{}", text(&done.stdout), text(&done.stderr));
        assert!(told.contains(expected), "{told}");
        assert_eq!(done.status.code(), Some(code), "{told}");
        assert!(!told.contains(token.as_str()));
    }
}
