//! Encodes values in the Prometheus text format, each with a name, a help text and at most one label.

use std::fmt;

use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeLabelValue, EncodeMetric as _, GaugeValueEncoder,
    NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use liveplan_hub::counters::CloseCode;
use liveplan_hub::histogram::Histogram;

/// An encoder of metrics.
pub(super) struct Text<'a>(pub DescriptorEncoder<'a>);

/// A gauge's value.
pub(super) struct Value(i64);

impl EncodeGaugeValue for Value {
    fn encode(&self, encoder: &mut GaugeValueEncoder) -> fmt::Result {
        EncodeGaugeValue::encode(&self.0, encoder)
    }
}

impl From<bool> for Value {
    fn from(yes: bool) -> Self {
        Self(yes.into())
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self(value)
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Self(value.into())
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<usize> for Value {
    fn from(value: usize) -> Self {
        Self(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl Text<'_> {
    /// Encodes a counter; `_total` is appended to its name.
    pub fn counter(&mut self, name: &str, help: &str, value: &impl EncodeCounterValue) -> fmt::Result {
        self.0
            .encode_descriptor(name, help, None, MetricType::Counter)?
            .encode_counter::<NoLabelSet, _, f64>(value, None)
    }

    /// Encodes counters with a label.
    pub fn counters<L: EncodeLabelValue>(
        &mut self,
        name: &str,
        help: &str,
        label: &'static str,
        values: impl IntoIterator<Item = (L, u64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (of, value) in values {
            family
                .encode_family(&[(label, of)])?
                .encode_counter::<NoLabelSet, _, f64>(&value, None)?;
        }
        Ok(())
    }

    /// Encodes a family of counters with the family's own label.
    pub fn family(&mut self, name: &str, help: &str, values: &Family<CloseCode, Counter>) -> fmt::Result {
        let family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        values.encode(family)
    }

    /// Encodes a gauge.
    pub fn gauge(&mut self, name: &str, help: &str, value: impl Into<Value>) -> fmt::Result {
        self.0
            .encode_descriptor(name, help, None, MetricType::Gauge)?
            .encode_gauge(&value.into())
    }

    /// Encodes gauges with a label.
    pub fn gauges<L: EncodeLabelValue>(
        &mut self,
        name: &str,
        help: &str,
        label: &'static str,
        values: impl IntoIterator<Item = (L, u64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (of, value) in values {
            family
                .encode_family(&[(label, of)])?
                .encode_gauge(&Value::from(value))?;
        }
        Ok(())
    }

    /// Encodes a histogram of seconds.
    pub fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) -> fmt::Result {
        let observed = histogram.read();
        self.0
            .encode_descriptor(name, help, None, MetricType::Histogram)?
            .encode_histogram::<NoLabelSet>(observed.sum, observed.count, &observed.buckets, None)
    }
}
