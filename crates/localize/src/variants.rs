//! One route, many endpoints: a GraphQL server answers every operation at one path, and a gateway hands on whatever
//! lies below one. Judged as one, an N+1 of one operation drowns among the others, so each is an endpoint of its own.
//! Nothing is told apart by values.

use crate::resolve::{Calls, Class};
use crate::shape;
use crate::tree::{Forest, NodeId, Tree};
use model::{SpanTable, Sym};
use std::collections::BTreeMap;

/// Between a route's name and what tells its kinds apart.
pub(crate) const BETWEEN: &str = model::VARIANT;
/// Attribute that names a GraphQL operation.
const OPERATION: &str = "graphql.operation.name";
/// Attributes that tell the path of a request, or end with it.
const PATHS: &[&str] = &["url.path", "http.target", "url.full", "http.url"];
/// How GraphQL's instrumentations name the span of a field.
const FIELD: &str = "graphql.resolve ";
/// Fields that name an operation without a name.
const MAX_FIELDS: usize = 3;
/// More kinds than this behind one route are values, not kinds.
const MAX_VARIANTS: usize = 64;
/// Share of a route's requests whose kind is known.
const KNOWN_SHARE: f64 = 0.9;

/// By tree: the name of its endpoint where its route has several kinds.
#[must_use]
pub(crate) fn variants(table: &SpanTable, forest: &Forest, calls: &mut Calls) -> Vec<Option<Sym>> {
    let paths = PATHS.iter().filter_map(|key| table.strings.find(key)).collect();
    let reader = Reader { table, forest, operation: table.strings.find(OPERATION), paths };
    let mut routes: BTreeMap<(Sym, Sym), Route> = BTreeMap::new();
    for (at, tree) in forest.trees.iter().enumerate() {
        let entry = shape::entry(forest, tree.root);
        if forest.node(entry).class != Class::Server {
            continue;
        }
        let call = &calls.rows[forest.node(entry).row as usize];
        let route = routes.entry((call.service, call.template)).or_default();
        route.trees += 1;
        if route.kinds.len() > MAX_VARIANTS {
            continue;
        }
        if let Some(kind) = reader.kind(calls, tree, entry) {
            route.kinds.entry(kind).or_default().push(at);
        }
    }
    let mut out = vec![None; forest.trees.len()];
    for ((_, template), route) in routes {
        let known: usize = route.kinds.values().map(Vec::len).sum();
        let several = (2..=MAX_VARIANTS).contains(&route.kinds.len());
        if !several || (known as f64) < KNOWN_SHARE * route.trees as f64 {
            continue;
        }
        for (kind, trees) in route.kinds {
            let name = format!("{}{BETWEEN}{kind}", calls.name(template));
            let name = calls.names.intern(&name);
            for tree in trees {
                out[tree] = Some(name);
            }
        }
    }
    out
}

/// One route of one service.
#[derive(Default)]
struct Route {
    trees: usize,
    kinds: BTreeMap<String, Vec<usize>>,
}

struct Reader<'a> {
    table: &'a SpanTable,
    forest: &'a Forest,
    /// The key of an operation's name, if any span has it.
    operation: Option<Sym>,
    /// Keys of the path or address of a request.
    paths: Vec<Sym>,
}

impl Reader<'_> {
    fn kind(&self, calls: &Calls, tree: &Tree, entry: NodeId) -> Option<String> {
        self.graphql(calls, tree, entry).or_else(|| {
            let template = calls.rows[self.forest.node(entry).row as usize].template;
            is_open_ended(calls.name(template)).then(|| self.handed_on(calls, entry)).flatten()
        })
    }

    /// The operation's name, or the fields that an operation without a name asks for.
    fn graphql(&self, calls: &Calls, tree: &Tree, entry: NodeId) -> Option<String> {
        let operation = self.operation?;
        let service = calls.rows[self.forest.node(entry).row as usize].service;
        let within = (entry..self.forest.node(entry).subtree_end.min(tree.end)).filter(|node| {
            let node = self.forest.node(*node);
            node.class == Class::Internal && calls.rows[node.row as usize].service == service
        });
        let mut fields: Vec<&str> = Vec::new();
        for node in within {
            let row = self.forest.node(node).row as usize;
            let named = self.table.packed_attributes(row).iter().find(|a| a.key == operation);
            let name = named.and_then(|a| a.value.as_sym()).map(|s| self.table.strings.get(s));
            if let Some(name) = name.filter(|name| !name.is_empty()) {
                return Some(name.to_owned());
            }
            let field = calls.name(calls.rows[row].template).strip_prefix(FIELD);
            if let Some(field) = field.filter(|f| !f.contains('.') && !fields.contains(f)) {
                fields.push(field);
            }
        }
        fields.sort_unstable();
        fields.truncate(MAX_FIELDS);
        (!fields.is_empty()).then(|| format!("{{ {} }}", fields.join(" ")))
    }

    /// Of the path that a request was made for, where the span tells it.
    fn last_segment(&self, node: NodeId) -> Option<&str> {
        let attributes = self.table.packed_attributes(self.forest.node(node).row as usize);
        let told = self.paths.iter().find_map(|key| attributes.iter().find(|a| a.key == *key))?;
        let path = self.table.strings.get(told.value.as_sym()?).split(['?', '#']).next()?;
        path.trim_end_matches('/').rsplit('/').next()
    }

    /// What another service is asked, where nothing else is asked of anybody.
    fn handed_on(&self, calls: &Calls, entry: NodeId) -> Option<String> {
        let service = |node: NodeId| calls.rows[self.forest.node(node).row as usize].service;
        let (mut at, end) = (entry + 1, self.forest.node(entry).subtree_end);
        let mut callee = None;
        while at < end {
            let node = self.forest.node(at);
            match node.class {
                Class::Http | Class::Rpc if callee.is_none() => {
                    let below =
                        self.forest.children(at).find(|c| self.forest.node(*c).class == Class::Server);
                    callee = Some(below.filter(|c| service(*c) != service(entry))?);
                    at = node.subtree_end;
                }
                Class::Internal | Class::Pool => at += 1,
                _ => return None,
            }
        }
        let callee = callee?;
        // A gateway asks for what it was asked for.
        if let (Some(asked), Some(asks)) = (self.last_segment(entry), self.last_segment(callee))
            && asked != asks
        {
            return None;
        }
        Some(calls.name(calls.rows[self.forest.node(callee).row as usize].template).to_owned())
    }
}

/// A route that takes whatever lies below it, or a span without any: an ordinary route may ask one of several
/// services, too, and is one endpoint.
fn is_open_ended(template: &str) -> bool {
    let Some((_, path)) = template.split_once(' ') else { return true };
    let last = path.trim_end_matches('/').rsplit('/').next().unwrap_or("");
    last.is_empty() || last.starts_with(['{', ':', '<', '[']) || last.contains('*')
}

#[cfg(test)]
mod tests {
    use crate::testing::{check_rule, drawn};
    use crate::{Options, localize};
    use expect_test::expect;

    fn endpoints(drawing: &str) -> Vec<String> {
        localize(&drawn(drawing), &Options::default())
            .recording
            .endpoints
            .into_iter()
            .map(|e| e.endpoint)
            .collect()
    }

    const OPERATIONS: &str = r#"
        repeat 10
        api server "POST /graphql" 0..60
          api internal "query Orders" 1..59 graphql.operation.name=Orders
            api db "SELECT * FROM customers WHERE id = $1" 2..4 x20 gap 0.5

        repeat 30
        api server "POST /graphql" 0..90
          api internal "query Shops" 1..89 graphql.operation.name=Shops
            api db "SELECT * FROM shops" 2..80
        "#;

    #[test]
    fn an_n_plus_one_of_one_operation_among_many_is_told_on_it() {
        check_rule(
            "n_plus_one",
            &drawn(OPERATIONS),
            &expect![[r#"
            n_plus_one POST /graphql > Orders | 20 x SELECT ... FROM customers per POST /graphql > Orders | p95 60.0 -> 17.2 (12.5..22.0) B
        "#]],
        );
    }

    #[test]
    fn an_operation_without_a_name_is_named_by_its_fields() {
        let named = OPERATIONS.replace("graphql.operation.name=Orders", "graphql.operation.name=\"\"");
        let named =
            named.replace("gap 0.5", "gap 0.5\n            api internal \"graphql.resolve orders\" 2..58");
        let found = endpoints(&named);
        assert!(found.contains(&"POST /graphql > { orders }".to_owned()), "{found:?}");
    }

    const GATEWAY: &str = r#"
        repeat 10
        edge server "GET /api/{path}" 0..60
          edge http "GET http://shop/items" 1..59
            shop server "GET /items" 2..58

        repeat 10
        edge server "GET /api/{path}" 0..30
          edge http "GET http://shop/home" 1..29
            shop server "GET /home" 2..28
        "#;

    #[test]
    fn a_gateway_is_as_many_endpoints_as_it_hands_on_to() {
        let found = endpoints(GATEWAY);
        assert_eq!(found, ["GET /api/{path} > GET /home", "GET /api/{path} > GET /items"]);
    }

    #[test]
    fn a_service_that_asks_more_than_one_is_no_gateway() {
        let more = GATEWAY.replace(
            "shop server \"GET /items\" 2..58",
            "shop server \"GET /items\" 2..20\n          edge db \"SELECT 1\" 59..60",
        );
        assert_eq!(endpoints(&more), ["GET /api/{path}"]);
    }

    #[test]
    fn a_route_that_asks_one_of_two_services_is_one_endpoint() {
        let quote = GATEWAY.replace("GET /api/{path}", "GET /quote");
        assert_eq!(endpoints(&quote), ["GET /quote"]);
        // With a parameter at its end, what was asked for decides.
        let asked = |path: &str, of: &str| {
            let entry = format!("edge server \"GET /api/{{path}}\" {of}");
            (entry.clone(), format!("{entry} url.path={path}"))
        };
        let told = |first: &str, second: &str| {
            let ((a, b), (c, d)) = (asked(first, "0..60"), asked(second, "0..30"));
            GATEWAY
                .replace(&a, &b)
                .replace(&c, &d)
                .replace(
                    "shop server \"GET /items\" 2..58",
                    "shop server \"GET /items\" 2..58 url.path=/items",
                )
                .replace("shop server \"GET /home\" 2..28", "shop server \"GET /home\" 2..28 url.path=/home")
        };
        assert_eq!(endpoints(&told("/api/7", "/api/8")), ["GET /api/{path}"]);
        assert_eq!(endpoints(&told("/api/items", "/api/home")).len(), 2);
    }

    #[test]
    fn a_goal_of_the_route_concerns_each_of_them() {
        let options = Options {
            goals: vec!["p95(GET /api/{path}) < 50 ms".parse().expect("a goal")],
            ..Options::default()
        };
        let goals = localize(&drawn(GATEWAY), &options).goals;
        assert_eq!((goals[0].met, goals[0].measured), (Some(false), Some(60.0)));
    }
}
