//! Statistics over time, and how much of its day an app has used.

use std::time::{SystemTime, UNIX_EPOCH};

use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::error::{AdminError, ErrorBody};
use super::{Admin, Call, reply};
use crate::http::Answer;
use crate::hub::AppHub;
use crate::usage::{Point, Span, Sums};

/// Spans of one answer, at most: 48 hours of minutes and some.
const MAX_SPANS: u64 = 3_000;

/// Spans of an answer, if nothing is said.
const DEFAULT_SPANS: u64 = 60;

/// Which time.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct StatisticsQuery {
    /// The length of the time that one point is of. Default `minute`.
    span: Option<Span>,
    /// The beginning, in Unix seconds. Default: 60 spans before the end.
    from: Option<u64>,
    /// The end, in Unix seconds, not itself included. Default: now.
    to: Option<u64>,
}

/// What happened over time.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Statistics {
    /// This node now: what it has, and what it has counted since its start.
    now: Sums,
    /// Messages of the day, for an app with a limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    day: Option<Day>,
    span: Span,
    /// All nodes together, the oldest first. Spans in which an app did nothing are
    /// left out; the last one goes on.
    points: Vec<Point>,
}

/// Messages of the present day of UTC, as a plan counts them.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Day {
    used: u64,
    limit: u64,
}

/// Statistics of all apps together
#[utoipa::path(get, path = "/admin/v1/statistics", tag = "statistics", params(StatisticsQuery),
    responses(
        (status = 200, description = "What happened", body = Statistics),
        (status = 422, description = "A time that cannot be told of", body = ErrorBody)))]
pub(super) async fn total(admin: &Admin, call: &Call<'_>) -> Result<Answer, AdminError> {
    statistics(admin, call, None).await
}

/// Statistics of one app
#[utoipa::path(get, path = "/admin/v1/apps/{app}/statistics", tag = "statistics",
    params(("app" = String, Path, description = "The id of the app"), StatisticsQuery),
    responses(
        (status = 200, description = "What happened", body = Statistics),
        (status = 404, description = "There is no such app", body = ErrorBody),
        (status = 422, description = "A time that cannot be told of", body = ErrorBody)))]
pub(super) async fn of_app(admin: &Admin, call: &Call<'_>) -> Result<Answer, AdminError> {
    let app = admin.app(call.parameter(0)).await?;
    let hub = admin.parts.hub.app(&app);
    statistics(admin, call, Some(&hub)).await
}

async fn statistics(
    admin: &Admin,
    call: &Call<'_>,
    app: Option<&AppHub>,
) -> Result<Answer, AdminError> {
    let query: StatisticsQuery = call.query()?;
    let now = SystemTime::now();
    let seconds = now
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let (span, from, to) = query.time(seconds)?;
    let usage = &admin.parts.usage;
    let id = app.map(|app| app.id().as_str());
    let day = app.and_then(|app| admin.parts.meters.used(app, now));
    Ok(reply(
        StatusCode::OK,
        &Statistics {
            now: usage.now(app),
            day: day.map(|day| Day {
                used: day.used,
                limit: day.limit,
            }),
            span,
            points: usage.read(id, span, from, to).await?,
        },
    ))
}

impl StatisticsQuery {
    /// Span, beginning and end.
    fn time(&self, now: u64) -> Result<(Span, u64, u64), AdminError> {
        let span = self.span.unwrap_or(Span::Minute);
        let to = self.to.unwrap_or(now + 1);
        let default = to.saturating_sub(DEFAULT_SPANS * span.seconds());
        let from = self.from.unwrap_or(default);
        if from > to || (to - from) / span.seconds() > MAX_SPANS {
            return Err(
                AdminError::invalid(format!("from = {from}, to = {to} is not valid")).expected(
                    format!("Unix seconds, the first not above the second, {MAX_SPANS} spans apart at most"),
                ),
            );
        }
        Ok((span, from, to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_hour_is_told_unless_another_time_is_named() {
        let query = |span, from, to| StatisticsQuery { span, from, to };

        let time = query(None, None, None).time(10_000).unwrap();
        assert_eq!(time, (Span::Minute, 6_401, 10_001));
        let time = query(Some(Span::Hour), Some(0), Some(3_600)).time(10_000);
        assert_eq!(time.unwrap(), (Span::Hour, 0, 3_600));
        for (from, to) in [(5, 4), (0, 60 * 3_002)] {
            assert!(query(None, Some(from), Some(to)).time(0).is_err());
        }
    }
}
