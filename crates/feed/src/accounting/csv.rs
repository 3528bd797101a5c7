//! A line as CSV with the columns of PowerMTA's accounting files, so that what reads those reads these.

use sluice_mail::UnixMs;
use sluice_mail::header::date::civil;

use super::Record;
use super::lines::Line;

/// The first row of each file.
pub(crate) const HEADER: &str = "type,timeLogged,timeQueued,orig,rcpt,orcpt,dsnAction,dsnStatus,dsnDiag,dsnMta,\
                                 bounceCat,srcType,srcMta,dlvType,dlvSourceIp,dlvDestinationIp,dlvEsmtpAvailable,\
                                 dlvSize,vmta,jobId,envId,queue,vmtaPool\n";

/// Appends the line: one row in one line, whatever its values hold.
pub(crate) fn write(out: &mut Vec<u8>, line: &Line<'_>) -> Result<(), csv::Error> {
    let (about, info) = (line.about, line.info);
    let source = info.source.as_deref().unwrap_or_default();
    let peer = info.peer.map(|peer| peer.ip().to_string()).unwrap_or_default();
    let mta = match &info.mx {
        Some(mx) => format!("{mx} ({peer})"),
        None => String::new(),
    };
    let envid = about.envid.as_deref().map(sluice_report::decode_xtext).unwrap_or_default();
    let diagnostic = format!("smtp;{}", line.reply);
    let row: [&str; 23] = [
        line.record.as_str(),
        &time(line.at),
        &time(about.accepted),
        about.mail_from.as_ref().map_or("", |address| address.as_str()),
        line.address.as_str(),
        line.orcpt.unwrap_or_default(),
        action(line.record),
        &line.status.to_string(),
        &diagnostic,
        &mta,
        line.class.map_or("", |class| class.as_str()),
        "smtp",
        &about.account,
        "smtp",
        source,
        &peer,
        "",
        &about.size.to_string(),
        source,
        about.campaign.as_deref().unwrap_or_default(),
        &envid,
        &format!("{}/{source}", about.domain),
        about.pool.as_deref().unwrap_or_default(),
    ];
    let mut writer = csv::WriterBuilder::new().from_writer(out);
    writer.write_record(row.map(one_line))?;
    Ok(writer.flush()?)
}

/// Without control characters: a row is a line.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn action(record: Record) -> &'static str {
    match record {
        Record::Delivered => "relayed",
        Record::Bounced => "failed",
        Record::Deferred | Record::SiteDeferred => "delayed",
    }
}

/// `2026-11-24 01:02:03+0000`
fn time(at: UnixMs) -> String {
    let ((year, month, day), (hour, minute, second)) = civil(at);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}+0000")
}
