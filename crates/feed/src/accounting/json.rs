//! A line as JSON. The names of its fields are documented for operators (`docs/bounces.md`) and stay.

use serde::Serialize;
use sluice_mail::UnixMs;
use sluice_mail::header::date::civil;

use super::lines::Line;

/// One object; what is not known is left out.
#[derive(Serialize)]
struct Object<'a> {
    id: String,
    #[serde(rename = "type")]
    record: &'static str,
    outcome: &'static str,
    time: String,
    accepted: String,
    queue_id: String,
    account: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    campaign: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<&'a str>,
    lane: &'static str,
    mail_from: &'a str,
    recipient: &'a str,
    domain: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    orcpt: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    envid: Option<String>,
    size: u32,
    attempt: u32,
    status: String,
    reply: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stage: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pool: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    site: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mx: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<&'a str>,
    duration_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    report: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    report_on: Option<String>,
}

/// Appends the line.
pub(crate) fn write(out: &mut Vec<u8>, line: &Line<'_>) -> Result<(), serde_json::Error> {
    let (about, info) = (line.about, line.info);
    serde_json::to_writer(
        &mut *out,
        &Object {
            id: line.id(),
            record: line.record.as_str(),
            outcome: line.outcome,
            time: rfc3339(line.at),
            accepted: rfc3339(about.accepted),
            queue_id: about.queue_id.to_string(),
            account: &about.account,
            campaign: about.campaign.as_deref(),
            tag: about.tag.as_deref(),
            lane: about.lane.as_str(),
            mail_from: about.mail_from.as_ref().map_or("", |address| address.as_str()),
            recipient: line.address.as_str(),
            domain: about.domain.to_string(),
            orcpt: line.orcpt,
            envid: about.envid.as_deref().map(sluice_report::decode_xtext),
            size: about.size,
            attempt: line.attempt,
            status: line.status.to_string(),
            reply: line.reply.to_string(),
            class: line.class.map(|class| class.as_str()),
            stage: line.stage.map(|stage| stage.as_str()),
            retry_at: line.retry_at.map(rfc3339),
            pool: about.pool.as_deref(),
            site: info.site.as_deref(),
            mx: info.mx.as_deref(),
            peer: info.peer.map(|peer| peer.to_string()),
            source: info.source.as_deref(),
            tls: info.tls.as_deref(),
            duration_ms: u64::try_from(info.duration.as_millis()).unwrap_or(u64::MAX),
            report: line.report.map(|id| id.to_string()),
            report_on: about.report_on.map(|id| id.to_string()),
        },
    )?;
    out.push(b'\n');
    Ok(())
}

/// `2026-11-24T01:02:03.004Z`
fn rfc3339(at: UnixMs) -> String {
    let ((year, month, day), (hour, minute, second)) = civil(at);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", at.0 % 1000)
}
