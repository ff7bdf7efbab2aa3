//! ITCH messages in words: every field by its name.

use std::fmt;

use seqcast_wire::itch::Message;
use seqcast_wire::{Alpha, Price4, Price8};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use zerocopy::byteorder::big_endian::{U32, U64};

/// What a field holds.
#[derive(Clone, Copy, Debug)]
enum Value<'a> {
    Number(u64),
    Price4(Price4),
    Price8(Price8),
    Text(&'a [u8]),
    /// A single character that stands for something.
    Code(u8),
}

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Number(number) => number.fmt(f),
            Value::Price4(price) => price.fmt(f),
            Value::Price8(price) => price.fmt(f),
            Value::Text(text) => text.escape_ascii().fmt(f),
            Value::Code(b' ') => Ok(()),
            Value::Code(code) => code.escape_ascii().fmt(f),
        }
    }
}

impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Number(number) => number.serialize(serializer),
            value => serializer.collect_str(value),
        }
    }
}

trait Field {
    fn value(&self) -> Value<'_>;
}

impl Field for u8 {
    fn value(&self) -> Value<'_> {
        Value::Code(*self)
    }
}

impl Field for U32 {
    fn value(&self) -> Value<'_> {
        Value::Number(self.get().into())
    }
}

impl Field for U64 {
    fn value(&self) -> Value<'_> {
        Value::Number(self.get())
    }
}

impl Field for Price4 {
    fn value(&self) -> Value<'_> {
        Value::Price4(*self)
    }
}

impl Field for Price8 {
    fn value(&self) -> Value<'_> {
        Value::Price8(*self)
    }
}

impl<const N: usize> Field for Alpha<N> {
    fn value(&self) -> Value<'_> {
        Value::Text(self.trimmed())
    }
}

/// Hands on every field of `message` behind its header, by name.
fn each_field<E>(
    message: &Message<'_>,
    mut on_field: impl FnMut(&'static str, Value<'_>) -> Result<(), E>,
) -> Result<(), E> {
    macro_rules! fields {
        ($message:ident: $($field:ident)*) => {{ $(on_field(stringify!($field), $message.$field.value())?;)* }};
    }
    match message {
        Message::SystemEvent(m) => fields!(m: event),
        Message::StockDirectory(m) => fields!(m: stock market_category financial_status round_lot_shares
            round_lots_only issue_class issue_subtype authenticity short_sale_threshold ipo luld_tier etp
            etp_leverage inverse),
        Message::TradingAction(m) => fields!(m: stock state reserved reason),
        Message::RegSho(m) => fields!(m: stock action),
        Message::ParticipantPosition(m) => fields!(m: mpid stock primary mode state),
        Message::MwcbDeclineLevel(m) => fields!(m: level_1 level_2 level_3),
        Message::MwcbStatus(m) => fields!(m: level),
        Message::IpoQuotingPeriod(m) => fields!(m: stock release_s qualifier price),
        Message::LuldAuctionCollar(m) => fields!(m: stock reference upper lower extension),
        Message::OperationalHalt(m) => fields!(m: stock market action),
        Message::AddOrder(m) => fields!(m: reference side shares stock price),
        Message::AddOrderMpid(m) => fields!(m: reference side shares stock price attribution),
        Message::OrderExecuted(m) => fields!(m: reference shares match_number),
        Message::OrderExecutedWithPrice(m) => fields!(m: reference shares match_number printable price),
        Message::OrderCancel(m) => fields!(m: reference shares),
        Message::OrderDelete(m) => fields!(m: reference),
        Message::OrderReplace(m) => fields!(m: original reference shares price),
        Message::Trade(m) => fields!(m: reference side shares stock price match_number),
        Message::CrossTrade(m) => fields!(m: shares stock price match_number cross),
        Message::BrokenTrade(m) => fields!(m: match_number),
        Message::NetOrderImbalance(m) => {
            fields!(m: paired imbalance direction stock far near reference cross variation)
        }
        Message::RetailPriceImprovement(m) => fields!(m: stock interest),
        Message::DirectListing(m) => {
            fields!(m: stock eligible min_price max_price near_price near_time_ns lower upper)
        }
        Message::Unknown(_) => {}
    }
    Ok(())
}

/// Bytes as hexadecimal digits.
pub(crate) struct Hex<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Serialize for Hex<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A message described: as ITCH with all its fields where it is that, else its bytes.
pub(crate) struct Described<'a>(pub(crate) &'a [u8]);

impl<'a> Described<'a> {
    fn parse(&self) -> Option<Message<'a>> {
        Message::parse(self.0).ok().filter(|message| message.header().is_some())
    }
}

impl fmt::Display for Described<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parsed = self.parse();
        let Some((message, header)) = parsed.as_ref().and_then(|message| Some((message, message.header()?)))
        else {
            return write!(f, "{}", Hex(self.0));
        };
        write!(f, "{} {} locate={}", Value::Code(header.kind), header.timestamp, header.locate)?;
        write!(f, " tracking={}", header.tracking)?;
        each_field(message, |name, value| write!(f, " {name}={value}"))
    }
}

impl Serialize for Described<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        let parsed = self.parse();
        match parsed.as_ref().and_then(|message| Some((message, message.header()?))) {
            Some((message, header)) => {
                map.serialize_entry("type", &Value::Code(header.kind))?;
                map.serialize_entry("time", &header.timestamp.to_string())?;
                map.serialize_entry("locate", &header.locate.get())?;
                map.serialize_entry("tracking", &header.tracking.get())?;
                each_field(message, |name, value| map.serialize_entry(name, &value))?;
            }
            None => map.serialize_entry("hex", &Hex(self.0))?,
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use seqcast_wire::itch::{KINDS, length_of};

    use super::*;

    /// Every type is described, with as many bytes in its fields as the message has behind its header.
    #[test]
    fn every_type_is_described() {
        for &kind in KINDS {
            let mut bytes = vec![b'1'; length_of(kind).unwrap()];
            bytes[0] = kind;
            let text = Described(&bytes).to_string();
            assert!(text.starts_with(&format!("{} ", char::from(kind))), "{text}");
            let message = Message::parse(&bytes).unwrap();
            let mut field_bytes = 0;
            let Ok(()) = each_field(&message, |name, value| {
                assert!(text.contains(&format!(" {name}={value}")), "{text}");
                field_bytes += match value {
                    Value::Number(number) if number > u64::from(u32::MAX) => 8,
                    Value::Number(_) | Value::Price4(_) => 4,
                    Value::Price8(_) => 8,
                    Value::Text(text) => text.len(),
                    Value::Code(_) => 1,
                };
                Ok::<(), std::convert::Infallible>(())
            });
            assert_eq!(11 + field_bytes, bytes.len(), "{text}");
            let json = serde_json::to_value(Described(&bytes)).unwrap();
            assert_eq!(json["type"], char::from(kind).to_string());
            assert_eq!(json.as_object().unwrap().len(), text.split(' ').count());
        }
    }

    #[test]
    fn what_is_no_itch_is_hexadecimal() {
        for bytes in [&b""[..], b"A", b"~whatever"] {
            assert_eq!(Described(bytes).to_string(), Hex(bytes).to_string());
            let json = serde_json::to_value(Described(bytes)).unwrap();
            assert_eq!(json, serde_json::json!({"hex": Hex(bytes).to_string()}));
        }
    }

    #[test]
    fn characters_that_are_none_are_escaped() {
        assert_eq!(Value::Code(b' ').to_string(), "");
        assert_eq!(Value::Code(0xFF).to_string(), "\\xff");
        assert_eq!(Value::Text(b"a\n").to_string(), "a\\n");
    }
}
