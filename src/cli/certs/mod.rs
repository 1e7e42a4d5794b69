//! `fanfare certs`: certificates that let clients of hosted Pusher come here
//! without a change of their code, and what their machines need for it.

mod authority;

use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use fanfare::config::ConfigError;
use rustls::pki_types::ServerName;

use self::authority::{Files, Made};
use super::output;

/// What stands before the cluster in the names of hosted Pusher: for pages, for
/// pages without WebSockets, and for back ends.
const PUSHER_HOSTS: [&str; 3] = ["ws", "sockjs", "api"];

/// Make certificates so that clients of hosted Pusher come here unchanged
#[derive(Debug, Args)]
#[command(
    after_help = "For your own machines and devices only: they must resolve Pusher's names to this
server and trust the authority that is made here. It can vouch for these names
and for no others. docs/drop-in.md explains every step.

Run again with the same --out, the authority stays and the certificate is made anew.

Examples:
  fanfare certs --cluster eu --address 192.168.1.10
  fanfare certs --cluster eu --cluster mt1 --name realtime.example --out /etc/fanfare/tls"
)]
pub(super) struct Certs {
    /// Cluster of the clients, such as eu or mt1; may be given several times
    #[arg(long, value_name = "CLUSTER")]
    cluster: Vec<String>,
    /// Name or address of this server of its own; may be given several times
    #[arg(long, value_name = "NAME")]
    name: Vec<String>,
    /// Address of this server, for the lines of DNS or hosts files
    #[arg(long, value_name = "IP")]
    address: Option<IpAddr>,
    /// Directory for the files; made if it is not there
    #[arg(long, value_name = "DIRECTORY", default_value = "tls")]
    out: PathBuf,
}

impl Certs {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let pusher = pusher_names(&self.cluster)?;
        let mut names = Vec::new();
        let own = self.name.iter().cloned();
        let address = self.address.iter().map(IpAddr::to_string);
        for name in pusher.iter().cloned().chain(own).chain(address) {
            let name = server_name(&name)?;
            if !names.contains(&name) {
                names.push(name);
            }
        }
        if names.is_empty() {
            return Err(ConfigError::missing(
                "--cluster".to_owned(),
                "a cluster such as eu, or --name with a name of this server",
            )
            .into());
        }
        std::fs::create_dir_all(&self.out)
            .with_context(|| format!("cannot make {}", self.out.display()))?;
        // The lines that are printed are for other directories too.
        let out = std::path::absolute(&self.out)
            .with_context(|| format!("cannot find {}", self.out.display()))?;
        let files = Files::of(&out);
        let made = files.make(&names)?;
        output::line(&self.explanation(&files, &made, &names, &pusher))?;
        Ok(())
    }

    fn explanation(
        &self,
        files: &Files,
        made: &Made,
        names: &[ServerName<'static>],
        pusher: &[String],
    ) -> String {
        let authority = files.authority.display();
        let what = match made {
            Made::Everything => format!("Made the authority {authority} and a certificate from it"),
            Made::Certificate => format!("Made a certificate from the authority {authority}"),
        };
        let names: Vec<_> = names.iter().map(ServerName::to_str).collect();
        let mut text = format!(
            "{what}, for:\n  {}\n\n1. The server, in its configuration file:\n\n  [server.tls]\n  cert = \"{}\"\n  key = \"{}\"\n  port = 443\n",
            names.join("\n  "),
            files.cert.display(),
            files.key.display(),
        );
        if !pusher.is_empty() {
            let address = self.address.map_or_else(
                || "<address of this server>".to_owned(),
                |ip| ip.to_string(),
            );
            text.push_str(&format!(
                "\n2. Names. In /etc/hosts of the clients and back ends:\n\n  {address} {}\n\n   or in the DNS server of your network, here for dnsmasq:\n\n",
                pusher.join(" ")
            ));
            for name in pusher {
                text.push_str(&format!("  address=/{name}/{address}\n"));
            }
        }
        text.push_str(&format!(
            "
3. Trust, on your own machines and devices:

  Node       NODE_EXTRA_CA_CERTS={authority} node app.js
  Debian     cp {authority} /usr/local/share/ca-certificates/fanfare.crt && update-ca-certificates
  Chromium   certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n fanfare -i {authority}
             (Debian package libnss3-tools; or Settings, Privacy and security, Security, Manage certificates)
  Android    copy {authority} to the device; Settings, Security, Encryption and credentials, Install a
             certificate, CA certificate. An app must allow it in its networkSecurityConfig.
  iOS        send {authority} to the device and install the profile; then Settings, General, About,
             Certificate Trust Settings: switch it on.

Keep {} secret: whoever has it can pretend to be these names to those who trust them.",
            files.authority_key.display()
        ));
        text
    }
}

/// The names that clients of these clusters connect to.
fn pusher_names(clusters: &[String]) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for cluster in clusters {
        let is_label = (1..=32).contains(&cluster.len())
            && cluster
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        if !is_label {
            return Err(ConfigError::bad_value(
                "--cluster",
                cluster,
                "a name such as eu, mt1 or us2",
                None,
            )
            .into());
        }
        names.extend(PUSHER_HOSTS.map(|host| format!("{host}-{cluster}.pusher.com")));
    }
    Ok(names)
}

fn server_name(name: &str) -> anyhow::Result<ServerName<'static>> {
    ServerName::try_from(name.to_ascii_lowercase()).map_err(|_| {
        ConfigError::bad_value(
            "--name",
            name,
            "a host name such as realtime.example, or an IP address",
            None,
        )
        .into()
    })
}
