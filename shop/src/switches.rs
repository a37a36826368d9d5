//! The run-time switches: one table that says of each its values, what it does and whom it affects.
//! Every default is the naive form. The table is data; the endpoints read the typed values.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use serde_json::{Map, Value, json};

/// An enum whose values have a name on the wire; the first one is the naive form and the default.
macro_rules! choice {
    ($name:ident { $first:ident = $first_text:literal, $($variant:ident = $text:literal),+ }) => {
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub enum $name {
            #[default]
            $first,
            $($variant),+
        }

        impl $name {
            const NAMES: &[&str] = &[$first_text, $($text),+];

            fn name(self) -> &'static str {
                match self {
                    Self::$first => $first_text,
                    $(Self::$variant => $text),+
                }
            }

            fn parse(text: &str) -> Option<Self> {
                match text {
                    $first_text => Some(Self::$first),
                    $($text => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }
    };
}

choice!(OrderItems { PerOrder = "per_order", Batched = "batched" });
choice!(Connection { PerRequest = "per_request", Pool = "pool" });
choice!(ProductCache { Off = "off", Local = "local", Redis = "redis" });
choice!(ProductPage { Serial = "serial", Concurrent = "concurrent" });
choice!(BasketPrices { PerProduct = "per_product", Bulk = "bulk" });
choice!(ConfirmationMail { InRequest = "in_request", Queued = "queued" });
choice!(Events { PerRequest = "per_request", Batched = "batched" });
choice!(ExportBody { InMemory = "in_memory", Streamed = "streamed" });
choice!(ExportDefault { AllFields = "all_fields", NeededFields = "needed_fields" });
choice!(Account { WholeHistory = "whole_history", Summary = "summary" });
choice!(Report { OnAsyncThreads = "on_async_threads", Offloaded = "offloaded" });
choice!(Recommendations { ListScan = "list_scan", Set = "set" });

/// The value of every switch at one moment; a request reads it once and keeps to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Switches {
    pub order_items: OrderItems,
    pub connection: Connection,
    pub pool_size: u32,
    pub product_cache: ProductCache,
    pub product_cache_size: u32,
    pub product_cache_ttl_ms: u32,
    pub product_page: ProductPage,
    pub basket_prices: BasketPrices,
    pub confirmation_mail: ConfirmationMail,
    pub events: Events,
    pub export_body: ExportBody,
    pub export_default: ExportDefault,
    pub account: Account,
    pub report: Report,
    pub recommendations: Recommendations,
}

impl Default for Switches {
    fn default() -> Self {
        Self {
            order_items: OrderItems::default(),
            connection: Connection::default(),
            pool_size: 8,
            product_cache: ProductCache::default(),
            product_cache_size: 1_000,
            product_cache_ttl_ms: 60_000,
            product_page: ProductPage::default(),
            basket_prices: BasketPrices::default(),
            confirmation_mail: ConfirmationMail::default(),
            events: Events::default(),
            export_body: ExportBody::default(),
            export_default: ExportDefault::default(),
            account: Account::default(),
            report: Report::default(),
            recommendations: Recommendations::default(),
        }
    }
}

enum Values {
    Choice(&'static [&'static str]),
    Number { least: u32, most: u32 },
}

struct Switch {
    name: &'static str,
    values: Values,
    description: &'static str,
    endpoints: &'static [&'static str],
    get: fn(&Switches) -> Value,
    /// Called with a text that is one of `values`; returns false when it is not.
    set: fn(&mut Switches, &str) -> bool,
}

macro_rules! choice_switch {
    ($field:ident: $type:ident, $description:literal, $endpoints:expr) => {
        Switch {
            name: stringify!($field),
            values: Values::Choice($type::NAMES),
            description: $description,
            endpoints: $endpoints,
            get: |switches| json!(switches.$field.name()),
            set: |switches, text| match $type::parse(text) {
                Some(value) => {
                    switches.$field = value;
                    true
                }
                None => false,
            },
        }
    };
}

macro_rules! number_switch {
    ($field:ident: $least:literal..=$most:literal, $description:literal, $endpoints:expr) => {
        Switch {
            name: stringify!($field),
            values: Values::Number { least: $least, most: $most },
            description: $description,
            endpoints: $endpoints,
            get: |switches| json!(switches.$field),
            set: |switches, text| match text.parse() {
                Ok(value) if ($least..=$most).contains(&value) => {
                    switches.$field = value;
                    true
                }
                _ => false,
            },
        }
    };
}

const DATABASE_ENDPOINTS: &[&str] = &[
    "GET /customers/{id}/orders",
    "GET /products/{id}",
    "PUT /products/{id}",
    "GET /products/{id}/page",
    "POST /basket/prices",
    "POST /orders",
    "POST /events",
    "GET /export/orders",
    "GET /customers/{id}/account",
    "GET /reports/sales",
    "GET /customers/{id}/recommendations",
];
const PRODUCT_ENDPOINTS: &[&str] = &["GET /products/{id}", "PUT /products/{id}", "GET /products/{id}/page"];

const TABLE: &[Switch] = &[
    choice_switch!(account: Account,
        "load the whole order history to sum it up, or ask the database for the sums",
        &["GET /customers/{id}/account"]),
    choice_switch!(basket_prices: BasketPrices,
        "one query per product of the basket, or one for all",
        &["POST /basket/prices"]),
    choice_switch!(confirmation_mail: ConfirmationMail,
        "send the confirmation before answering, or hand it to a bounded background queue with retry",
        &["POST /orders"]),
    choice_switch!(connection: Connection,
        "a new database connection per request, or a pool of them",
        DATABASE_ENDPOINTS),
    choice_switch!(events: Events,
        "one INSERT per event, or batches behind a bounded queue",
        &["POST /events"]),
    choice_switch!(export_body: ExportBody,
        "build the whole document in memory, or stream it row by row",
        &["GET /export/orders"]),
    choice_switch!(export_default: ExportDefault,
        "fields of the export when the client names none: all, or the few that most clients read",
        &["GET /export/orders"]),
    choice_switch!(order_items: OrderItems,
        "one query for the items of each order, or one for the items of all",
        &["GET /customers/{id}/orders"]),
    number_switch!(pool_size: 1..=100,
        "connections in the pool, used when connection is pool",
        DATABASE_ENDPOINTS),
    choice_switch!(product_cache: ProductCache,
        "product details from the database, from a cache in the process, or from Redis",
        PRODUCT_ENDPOINTS),
    number_switch!(product_cache_size: 1..=100_000,
        "products that the local cache holds; the least recently used one goes first",
        PRODUCT_ENDPOINTS),
    number_switch!(product_cache_ttl_ms: 1..=3_600_000,
        "milliseconds after which a cached product is read again",
        PRODUCT_ENDPOINTS),
    choice_switch!(product_page: ProductPage,
        "ask for details, related products and stock one after another, or at the same time",
        &["GET /products/{id}/page"]),
    choice_switch!(recommendations: Recommendations,
        "find trending products by scanning a list for each candidate, or by a set",
        &["GET /customers/{id}/recommendations"]),
    choice_switch!(report: Report,
        "compute the report on the threads that serve requests, or on threads of its own",
        &["GET /reports/sales"]),
];

/// Why a change of switches was refused; nothing was changed.
#[derive(Debug)]
pub struct SwitchError {
    pub field: String,
    pub message: String,
}

impl fmt::Display for SwitchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for SwitchError {}

impl Switches {
    /// A copy with the members of a JSON object applied: all of them, or none.
    ///
    /// # Errors
    /// Names the first member that is unknown or has a value that is not allowed.
    pub fn with_object(&self, changes: &Map<String, Value>) -> Result<Self, SwitchError> {
        let mut next = self.clone();
        for (name, value) in changes {
            let text = match value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            next.set(name, &text)?;
        }
        Ok(next)
    }

    /// A copy with a list such as `order_items=batched,pool_size=16` applied.
    ///
    /// # Errors
    /// Names the first entry that is unknown or has a value that is not allowed.
    pub fn with_list(&self, list: &str) -> Result<Self, SwitchError> {
        let mut next = self.clone();
        for entry in list.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let (name, value) = entry.split_once('=').ok_or_else(|| SwitchError {
                field: entry.to_owned(),
                message: format!("`{entry}` is not of the form name=value"),
            })?;
            next.set(name.trim(), value.trim())?;
        }
        Ok(next)
    }

    fn set(&mut self, name: &str, text: &str) -> Result<(), SwitchError> {
        let Some(switch) = TABLE.iter().find(|switch| switch.name == name) else {
            let names: Vec<_> = TABLE.iter().map(|switch| switch.name).collect();
            let message = format!("there is no switch `{name}`; there are {}", names.join(", "));
            return Err(SwitchError { field: name.to_owned(), message });
        };
        if (switch.set)(self, text) {
            return Ok(());
        }
        let allowed = match switch.values {
            Values::Choice(names) => names.join(", "),
            Values::Number { least, most } => format!("a number from {least} to {most}"),
        };
        let message = format!("`{text}` is no value of `{name}`; allowed: {allowed}");
        Err(SwitchError { field: name.to_owned(), message })
    }

    /// Every switch with value, allowed values or range, description and endpoints, sorted by name.
    pub fn describe(&self) -> Value {
        let switches: Vec<_> = TABLE
            .iter()
            .map(|switch| {
                let mut entry = json!({
                    "name": switch.name,
                    "value": (switch.get)(self),
                    "description": switch.description,
                    "endpoints": switch.endpoints,
                });
                match switch.values {
                    Values::Choice(names) => entry["allowed"] = json!(names),
                    Values::Number { least, most } => {
                        entry["range"] = json!({ "least": least, "most": most });
                    }
                }
                entry
            })
            .collect();
        json!({ "switches": switches })
    }
}

/// The switches of the running process.
pub struct SwitchBoard(RwLock<Arc<Switches>>);

impl SwitchBoard {
    pub fn new(switches: Switches) -> Self {
        Self(RwLock::new(Arc::new(switches)))
    }

    pub fn current(&self) -> Arc<Switches> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn replace(&self, next: Switches) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        let Value::Object(map) = value else { panic!("not an object") };
        map
    }

    #[test]
    fn the_default_of_every_choice_is_its_first_value() {
        let described = Switches::default().describe();
        for switch in described["switches"].as_array().unwrap() {
            if let Some(allowed) = switch["allowed"].as_array() {
                assert_eq!(switch["value"], allowed[0], "{switch}");
            }
        }
    }

    #[test]
    fn every_switch_can_take_every_value_that_it_lists() {
        for switch in Switches::default().describe()["switches"].as_array().unwrap() {
            let name = switch["name"].as_str().unwrap();
            let values = match switch["allowed"].as_array() {
                Some(values) => values.clone(),
                None => vec![switch["range"]["least"].clone(), switch["range"]["most"].clone()],
            };
            for value in values {
                let changed =
                    Switches::default().with_object(&object(json!({ name: value.clone() }))).unwrap();
                let described = changed.describe();
                let now =
                    described["switches"].as_array().unwrap().iter().find(|s| s["name"] == name).unwrap();
                assert_eq!(now["value"], value);
            }
        }
    }

    #[test]
    fn a_wrong_value_names_the_field_and_what_is_allowed() {
        let error = Switches::default()
            .with_object(&object(json!({ "pool_size": 16, "report": "somewhere" })))
            .unwrap_err();
        assert_eq!(error.field, "report");
        assert!(error.message.contains("on_async_threads, offloaded"), "{error}");
        assert!(Switches::default().with_list("pool_size=0").is_err());
        assert!(Switches::default().with_list("pool_size=101").is_err());
        assert!(Switches::default().with_list("speed=high").is_err());
        assert!(Switches::default().with_list("pool_size").is_err());
    }

    #[test]
    fn a_list_sets_what_it_names_and_nothing_else() {
        let switches = Switches::default().with_list("order_items=batched, pool_size=16,").unwrap();
        let expected = Switches { order_items: OrderItems::Batched, pool_size: 16, ..Switches::default() };
        assert_eq!(switches, expected);
    }
}
