//! `docs/configuration.md`, made from what each section says of its keys.

use sluice_daemon::config::{Documented, Key, markdown};
use sluice_daemon::{AdminConfig, LogConfig};

use super::{RawAccounting, RawConfig, RawDkim, RawSpool, RawTls};
use crate::sandbox;

const INTRODUCTION: &str = "\
# Configuration

Sluice reads one TOML file: `sluice.toml` in the working directory, or the one that `--config` (or `SLUICE_CONFIG`) names.
The first `sluice run` writes it. Every key has a default, so an empty file is a valid one. What the file says is overridden by

1. environment variables: `SLUICE_` and the key in capitals, with `__` between section and key:
   `SLUICE_HOSTNAME=mail.example.org`, `SLUICE_LOG__LEVEL=debug`. Values other than plain text are written as in TOML:
   `SLUICE_DELIVERY__RETRY_AFTER='[\"1m\", \"10m\"]'`, `SLUICE_INGRESS__LISTENERS='[{ address = \"0.0.0.0:587\" }]'`; a place
   in a list is a number: `SLUICE_INGRESS__LISTENERS__0__ADDRESS=0.0.0.0:587` (a list that the file does not have begins
   empty, not with its defaults). Names without `__` that are no key are ignored, since Kubernetes sets such ones:
   `SLUICE_LOG_LEVEL` does nothing;
2. flags: `--set log.level=debug`, `--set ingress.listeners.0.address=0.0.0.0:587`, `--data-dir PATH`. These win.

`sluice check-config` says what is wrong, with the line, without starting anything; it reads the certificate, but opens no
ports and folders that the file names. Unknown keys are errors. On SIGHUP the file is read again; static routes, DKIM keys from
files and the log level take effect at once, and the files of the certificate are read anew; everything else, other paths in `[tls]` included, holds
from the next start. A file with an error changes nothing.

**Kinds of value.** A *time* is text such as `\"30s\"`, `\"5m\"`, `\"1d12h\"` (units `w`, `d`, `h`, `m`, `s`, `ms`, largest first).
A *size* is text such as `\"25MiB\"` or `\"512kB\"`, or a number of octets. A *rate* is text such as
`\"100/15m\"` (100 in any 15 minutes; units `d`, `h`, `m`, `s`), `\"0\"` for nothing at all, or `\"unlimited\"`. A *network* is
`\"10.0.0.0/8\"` or `\"2001:db8::/32\"`. An *address* has its port where one is needed: `\"127.0.0.1:2587\"`, `\"[::1]:2587\"`.
A relative *path* is meant from the folder of the configuration file.
";

/// The whole page.
pub(crate) fn reference() -> String {
    let sections = [
        ("tls", markdown::<RawTls>("tls")),
        ("ingress", markdown::<sluice_ingress::RawConfig>("ingress")),
        ("spool", markdown::<RawSpool>("spool")),
        ("delivery", markdown::<sluice_delivery::RawConfig>("delivery")),
        ("dkim", markdown::<RawDkim>("dkim")),
        ("accounting", markdown::<RawAccounting>("accounting")),
        ("control", markdown::<sluice_control::RawConfig>("control")),
        ("admin", markdown::<AdminConfig>("admin")),
        ("log", markdown::<LogConfig>("log")),
        ("sandbox", markdown::<sandbox::RawConfig>("sandbox")),
    ];
    let top = markdown::<RawConfig>("");
    let mut page = format!("{INTRODUCTION}\n## Outside of sections\n\n{top}");
    for (name, table) in sections {
        let doc = RawConfig::KEYS.iter().find(|key: &&Key| key.name == name).map_or("", |key| key.doc);
        page.push_str(&format!("\n## `[{name}]`\n\n{doc}\n\n{table}"));
    }
    page
}
