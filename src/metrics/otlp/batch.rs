//! Points by scope and metric, as many as go to a collector at once.

use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, Metric, ResourceMetrics, ScopeMetrics, Sum, metric,
};
use opentelemetry_proto::tonic::resource::v1::Resource;

use super::super::families::{Family, Kind};
use super::points::Point;

/// The points of one request.
#[derive(Debug)]
pub struct Batch {
    temporality: AggregationTemporality,
    scopes: Vec<ScopeMetrics>,
    points: usize,
}

impl Batch {
    pub fn new(is_delta: bool) -> Self {
        Self {
            temporality: match is_delta {
                true => AggregationTemporality::Delta,
                false => AggregationTemporality::Cumulative,
            },
            scopes: Vec::new(),
            points: 0,
        }
    }

    /// How many points it has.
    pub fn len(&self) -> usize {
        self.points
    }

    pub fn is_empty(&self) -> bool {
        self.points == 0
    }

    pub fn add(&mut self, family: &Family, point: Point) {
        self.points += 1;
        let temporality = self.temporality;
        let scope = family.scope();
        let is_of_scope =
            |metrics: &&mut ScopeMetrics| metrics.scope.as_ref().is_some_and(|it| it.name == scope);
        let metrics = match self.scopes.iter_mut().find(is_of_scope) {
            Some(scope) => &mut scope.metrics,
            None => {
                self.scopes.push(scope_metrics(scope));
                &mut self.scopes.last_mut().expect("it is there").metrics
            }
        };
        let name = family.instrument().name;
        if metrics.last().is_none_or(|metric| metric.name != name) {
            metrics.push(empty(family, temporality));
        }
        let metric = metrics.last_mut().expect("it is there");
        match (&mut metric.data, point) {
            (Some(metric::Data::Gauge(gauge)), Point::Number(point)) => {
                gauge.data_points.push(point)
            }
            (Some(metric::Data::Sum(sum)), Point::Number(point)) => sum.data_points.push(point),
            (Some(metric::Data::Histogram(histogram)), Point::Histogram(point)) => {
                histogram.data_points.push(point);
            }
            _ => unreachable!("the text of {name} is of its kind"),
        }
    }

    /// All that is in it, which is empty then. RocketMQ's resource has no attributes.
    pub fn take(&mut self) -> ResourceMetrics {
        self.points = 0;
        ResourceMetrics {
            resource: Some(Resource::default()),
            scope_metrics: std::mem::take(&mut self.scopes),
            ..ResourceMetrics::default()
        }
    }
}

fn scope_metrics(scope: &str) -> ScopeMetrics {
    ScopeMetrics {
        scope: Some(InstrumentationScope {
            name: scope.to_owned(),
            ..InstrumentationScope::default()
        }),
        ..ScopeMetrics::default()
    }
}

/// Without a point.
fn empty(family: &Family, temporality: AggregationTemporality) -> Metric {
    let instrument = family.instrument();
    let aggregation_temporality = temporality.into();
    Metric {
        name: instrument.name.to_owned(),
        description: family.help.to_owned(),
        unit: instrument.unit.to_owned(),
        data: Some(match family.kind {
            Kind::Gauge => metric::Data::Gauge(Gauge::default()),
            Kind::Counter => metric::Data::Sum(Sum {
                aggregation_temporality,
                is_monotonic: true,
                ..Sum::default()
            }),
            Kind::Histogram => metric::Data::Histogram(Histogram {
                aggregation_temporality,
                ..Histogram::default()
            }),
        }),
        ..Metric::default()
    }
}
