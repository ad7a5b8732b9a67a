//! Every function and operator with its overloads, as a table: name, overload, signature. A signature with a dot is
//! called on its first argument. `A` and `B` stand for any type.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::types::Type;

/// One way to call a function.
#[derive(Debug)]
pub(crate) struct Overload {
    pub id: &'static str,
    pub member: bool,
    /// The receiver first.
    pub args: Vec<Type>,
    pub result: Type,
}

/// Type variables of one overload.
pub(crate) const VARIABLES: u32 = 2;

const TABLE: &str = "
_?_:_ conditional (bool, A, A) A
_&&_ logical_and (bool, bool) bool
_||_ logical_or (bool, bool) bool
!_ logical_not (bool) bool
@not_strictly_false not_strictly_false (bool) bool
_==_ equals (A, A) bool
_!=_ not_equals (A, A) bool
_+_ add_bytes (bytes, bytes) bytes
_+_ add_double (double, double) double
_+_ add_duration_duration (duration, duration) duration
_+_ add_duration_timestamp (duration, timestamp) timestamp
_+_ add_timestamp_duration (timestamp, duration) timestamp
_+_ add_int64 (int, int) int
_+_ add_list (list(A), list(A)) list(A)
_+_ add_string (string, string) string
_+_ add_uint64 (uint, uint) uint
_-_ subtract_double (double, double) double
_-_ subtract_duration_duration (duration, duration) duration
_-_ subtract_int64 (int, int) int
_-_ subtract_timestamp_duration (timestamp, duration) timestamp
_-_ subtract_timestamp_timestamp (timestamp, timestamp) duration
_-_ subtract_uint64 (uint, uint) uint
_*_ multiply_double (double, double) double
_*_ multiply_int64 (int, int) int
_*_ multiply_uint64 (uint, uint) uint
_/_ divide_double (double, double) double
_/_ divide_int64 (int, int) int
_/_ divide_uint64 (uint, uint) uint
_%_ modulo_int64 (int, int) int
_%_ modulo_uint64 (uint, uint) uint
-_ negate_double (double) double
-_ negate_int64 (int) int
_[_] index_list (list(A), int) A
_[_] index_map (map(A, B), A) B
_[_] optional_list_index_int (optional(list(A)), int) optional(A)
_[_] optional_map_index_value (optional(map(A, B)), A) optional(B)
_[?_] list_optindex_optional_int (list(A), int) optional(A)
_[?_] optional_list_optindex_optional_int (optional(list(A)), int) optional(A)
_[?_] map_optindex_optional_value (map(A, B), A) optional(B)
_[?_] optional_map_optindex_optional_value (optional(map(A, B)), A) optional(B)
@in in_list (A, list(A)) bool
@in in_map (A, map(A, B)) bool
size size_bytes (bytes) int
size bytes_size .(bytes) int
size size_list (list(A)) int
size list_size .(list(A)) int
size size_map (map(A, B)) int
size map_size .(map(A, B)) int
size size_string (string) int
size string_size .(string) int
type type (A) type(A)
bool bool_to_bool (bool) bool
bool string_to_bool (string) bool
bytes bytes_to_bytes (bytes) bytes
bytes string_to_bytes (string) bytes
double double_to_double (double) double
double int64_to_double (int) double
double string_to_double (string) double
double uint64_to_double (uint) double
duration duration_to_duration (duration) duration
duration int64_to_duration (int) duration
duration string_to_duration (string) duration
dyn to_dyn (A) dyn
int int64_to_int64 (int) int
int double_to_int64 (double) int
int duration_to_int64 (duration) int
int string_to_int64 (string) int
int timestamp_to_int64 (timestamp) int
int uint64_to_int64 (uint) int
string string_to_string (string) string
string bool_to_string (bool) string
string bytes_to_string (bytes) string
string double_to_string (double) string
string duration_to_string (duration) string
string int64_to_string (int) string
string timestamp_to_string (timestamp) string
string uint64_to_string (uint) string
string ip_to_string (net.IP) string
string cidr_to_string (net.CIDR) string
timestamp timestamp_to_timestamp (timestamp) timestamp
timestamp int64_to_timestamp (int) timestamp
timestamp string_to_timestamp (string) timestamp
uint uint64_to_uint64 (uint) uint
uint double_to_uint64 (double) uint
uint int64_to_uint64 (int) uint
uint string_to_uint64 (string) uint
contains contains_string .(string, string) bool
startsWith starts_with_string .(string, string) bool
endsWith ends_with_string .(string, string) bool
matches matches (string, string) bool
matches matches_string .(string, string) bool
getFullYear timestamp_to_year .(timestamp) int
getFullYear timestamp_to_year_with_tz .(timestamp, string) int
getMonth timestamp_to_month .(timestamp) int
getMonth timestamp_to_month_with_tz .(timestamp, string) int
getDayOfYear timestamp_to_day_of_year .(timestamp) int
getDayOfYear timestamp_to_day_of_year_with_tz .(timestamp, string) int
getDayOfMonth timestamp_to_day_of_month .(timestamp) int
getDayOfMonth timestamp_to_day_of_month_with_tz .(timestamp, string) int
getDate timestamp_to_day_of_month_1_based .(timestamp) int
getDate timestamp_to_day_of_month_1_based_with_tz .(timestamp, string) int
getDayOfWeek timestamp_to_day_of_week .(timestamp) int
getDayOfWeek timestamp_to_day_of_week_with_tz .(timestamp, string) int
getHours timestamp_to_hours .(timestamp) int
getHours timestamp_to_hours_with_tz .(timestamp, string) int
getHours duration_to_hours .(duration) int
getMinutes timestamp_to_minutes .(timestamp) int
getMinutes timestamp_to_minutes_with_tz .(timestamp, string) int
getMinutes duration_to_minutes .(duration) int
getSeconds timestamp_to_seconds .(timestamp) int
getSeconds timestamp_to_seconds_tz .(timestamp, string) int
getSeconds duration_to_seconds .(duration) int
getMilliseconds timestamp_to_milliseconds .(timestamp) int
getMilliseconds timestamp_to_milliseconds_with_tz .(timestamp, string) int
getMilliseconds duration_to_milliseconds .(duration) int
optional.of optional_of (A) optional(A)
optional.ofNonZeroValue optional_ofNonZeroValue (A) optional(A)
optional.none optional_none () optional(A)
optional.unwrap optional_unwrap (list(optional(A))) list(A)
unwrapOpt optional_unwrapOpt .(list(optional(A))) list(A)
value optional_value .(optional(A)) A
hasValue optional_hasValue .(optional(A)) bool
or optional_or_optional .(optional(A), optional(A)) optional(A)
orValue optional_orValue_value .(optional(A), A) A
first list_first .(list(A)) optional(A)
last list_last .(list(A)) optional(A)
cel.@mapInsert @mapInsert_map_key_value (map(A, B), A, B) map(A, B)
cel.@mapInsert @mapInsert_map_map (map(A, B), map(A, B)) map(A, B)
charAt string_char_at_int .(string, int) string
indexOf string_index_of_string .(string, string) int
indexOf string_index_of_string_int .(string, string, int) int
lastIndexOf string_last_index_of_string .(string, string) int
lastIndexOf string_last_index_of_string_int .(string, string, int) int
lowerAscii string_lower_ascii .(string) string
upperAscii string_upper_ascii .(string) string
replace string_replace_string_string .(string, string, string) string
replace string_replace_string_string_int .(string, string, string, int) string
split string_split_string .(string, string) list(string)
split string_split_string_int .(string, string, int) list(string)
substring string_substring_int .(string, int) string
substring string_substring_int_int .(string, int, int) string
trim string_trim .(string) string
format string_format .(string, list(dyn)) string
strings.quote strings_quote (string) string
join list_join .(list(string)) string
join list_join_string .(list(string), string) string
slice list_slice .(list(A), int, int) list(A)
flatten list_flatten .(list(list(A))) list(A)
flatten list_flatten_int .(list(dyn), int) list(dyn)
lists.range lists_range (int) list(int)
reverse list_reverse .(list(A)) list(A)
distinct list_distinct .(list(A)) list(A)
sets.contains list_sets_contains_list (list(A), list(A)) bool
sets.equivalent list_sets_equivalent_list (list(A), list(A)) bool
sets.intersects list_sets_intersects_list (list(A), list(A)) bool
indexOf list_a_index_of_int .(list(A), A) int
lastIndexOf list_a_last_index_of_int .(list(A), A) int
sum list_int_sum_int .(list(int)) int
sum list_uint_sum_uint .(list(uint)) uint
sum list_double_sum_double .(list(double)) double
sum list_duration_sum_duration .(list(duration)) duration
find string_find_string .(string, string) string
findAll string_find_all_string .(string, string) list(string)
findAll string_find_all_string_int .(string, string, int) list(string)
url string_to_url (string) kubernetes.URL
isURL is_url_string (string) bool
getScheme url_get_scheme .(kubernetes.URL) string
getHost url_get_host .(kubernetes.URL) string
getHostname url_get_hostname .(kubernetes.URL) string
getPort url_get_port .(kubernetes.URL) string
getEscapedPath url_get_escaped_path .(kubernetes.URL) string
getQuery url_get_query .(kubernetes.URL) map(string, list(string))
quantity string_to_quantity (string) kubernetes.Quantity
isQuantity is_quantity_string (string) bool
sign quantity_sign (kubernetes.Quantity) int
isGreaterThan quantity_is_greater_than .(kubernetes.Quantity, kubernetes.Quantity) bool
isLessThan quantity_is_less_than .(kubernetes.Quantity, kubernetes.Quantity) bool
compareTo quantity_compare_to .(kubernetes.Quantity, kubernetes.Quantity) int
asApproximateFloat quantity_get_float .(kubernetes.Quantity) double
asInteger quantity_get_int .(kubernetes.Quantity) int
isInteger quantity_is_integer .(kubernetes.Quantity) bool
add quantity_add .(kubernetes.Quantity, kubernetes.Quantity) kubernetes.Quantity
add quantity_add_int .(kubernetes.Quantity, int) kubernetes.Quantity
sub quantity_sub .(kubernetes.Quantity, kubernetes.Quantity) kubernetes.Quantity
sub quantity_sub_int .(kubernetes.Quantity, int) kubernetes.Quantity
semver string_to_semver (string) kubernetes.Semver
semver string_bool_to_semver (string, bool) kubernetes.Semver
isSemver is_semver_string (string) bool
isSemver is_semver_string_bool (string, bool) bool
isGreaterThan semver_is_greater_than .(kubernetes.Semver, kubernetes.Semver) bool
isLessThan semver_is_less_than .(kubernetes.Semver, kubernetes.Semver) bool
compareTo semver_compare_to .(kubernetes.Semver, kubernetes.Semver) int
major semver_major .(kubernetes.Semver) int
minor semver_minor .(kubernetes.Semver) int
patch semver_patch .(kubernetes.Semver) int
ip string_to_ip (string) net.IP
ip cidr_ip .(net.CIDR) net.IP
isIP is_ip (string) bool
ip.isCanonical ip_is_canonical (string) bool
family ip_family .(net.IP) int
isUnspecified ip_is_unspecified .(net.IP) bool
isLoopback ip_is_loopback .(net.IP) bool
isLinkLocalMulticast ip_is_link_local_multicast .(net.IP) bool
isLinkLocalUnicast ip_is_link_local_unicast .(net.IP) bool
isGlobalUnicast ip_is_global_unicast .(net.IP) bool
cidr string_to_cidr (string) net.CIDR
isCIDR is_cidr (string) bool
containsIP cidr_contains_ip_string .(net.CIDR, string) bool
containsIP cidr_contains_ip_ip .(net.CIDR, net.IP) bool
containsCIDR cidr_contains_cidr_string .(net.CIDR, string) bool
containsCIDR cidr_contains_cidr .(net.CIDR, net.CIDR) bool
prefixLength cidr_prefix_length .(net.CIDR) int
masked cidr_masked .(net.CIDR) net.CIDR
format.named format-named (string) optional(kubernetes.NamedFormat)
validate format-validate .(kubernetes.NamedFormat, string) optional(list(string))
format.dns1123Label format.dns1123Label () kubernetes.NamedFormat
format.dns1123Subdomain format.dns1123Subdomain () kubernetes.NamedFormat
format.dns1035Label format.dns1035Label () kubernetes.NamedFormat
format.qualifiedName format.qualifiedName () kubernetes.NamedFormat
format.dns1123LabelPrefix format.dns1123LabelPrefix () kubernetes.NamedFormat
format.dns1123SubdomainPrefix format.dns1123SubdomainPrefix () kubernetes.NamedFormat
format.dns1035LabelPrefix format.dns1035LabelPrefix () kubernetes.NamedFormat
format.labelValue format.labelValue () kubernetes.NamedFormat
format.uri format.uri () kubernetes.NamedFormat
format.uuid format.uuid () kubernetes.NamedFormat
format.byte format.byte () kubernetes.NamedFormat
format.date format.date () kubernetes.NamedFormat
format.datetime format.datetime () kubernetes.NamedFormat
path authorizer_path .(kubernetes.authorization.Authorizer, string) kubernetes.authorization.PathCheck
group authorizer_group .(kubernetes.authorization.Authorizer, string) kubernetes.authorization.GroupCheck
serviceAccount authorizer_serviceaccount .(kubernetes.authorization.Authorizer, string, string) kubernetes.authorization.Authorizer
resource groupcheck_resource .(kubernetes.authorization.GroupCheck, string) kubernetes.authorization.ResourceCheck
subresource resourcecheck_subresource .(kubernetes.authorization.ResourceCheck, string) kubernetes.authorization.ResourceCheck
namespace resourcecheck_namespace .(kubernetes.authorization.ResourceCheck, string) kubernetes.authorization.ResourceCheck
name resourcecheck_name .(kubernetes.authorization.ResourceCheck, string) kubernetes.authorization.ResourceCheck
fieldSelector authorizer_fieldselector .(kubernetes.authorization.ResourceCheck, string) kubernetes.authorization.ResourceCheck
labelSelector authorizer_labelselector .(kubernetes.authorization.ResourceCheck, string) kubernetes.authorization.ResourceCheck
check pathcheck_check .(kubernetes.authorization.PathCheck, string) kubernetes.authorization.Decision
check resourcecheck_check .(kubernetes.authorization.ResourceCheck, string) kubernetes.authorization.Decision
errored decision_errored .(kubernetes.authorization.Decision) bool
error decision_error .(kubernetes.authorization.Decision) string
allowed decision_allowed .(kubernetes.authorization.Decision) bool
reason decision_reason .(kubernetes.authorization.Decision) string
jsonpatch.escapeKey string_jsonpatch_escapeKey_string (string) string
";

/// Types with an order: what a row is repeated for.
const ORDERED: [&str; 8] = [
    "int",
    "uint",
    "double",
    "bool",
    "duration",
    "timestamp",
    "string",
    "bytes",
];

/// All functions, by name.
pub(crate) static FUNCTIONS: LazyLock<HashMap<&'static str, Vec<Overload>>> = LazyLock::new(build);

fn build() -> HashMap<&'static str, Vec<Overload>> {
    let mut table: HashMap<&'static str, Vec<Overload>> = HashMap::new();
    for line in TABLE.lines().filter(|line| !line.is_empty()) {
        let mut words = line.splitn(3, ' ');
        if let (Some(name), Some(id), Some(signature)) = (words.next(), words.next(), words.next()) {
            table.entry(name).or_default().push(overload(id, signature));
        }
    }
    // The table lives as long as the program: its generated names may, too.
    let mut add = |name: &'static str, id: String, signature: &str| {
        table
            .entry(name)
            .or_default()
            .push(overload(Box::leak(id.into_boxed_str()), signature));
    };
    for t in ORDERED {
        add(
            "isSorted",
            format!("list_{t}_is_sorted_bool"),
            &format!(".(list({t})) bool"),
        );
        add("min", format!("list_{t}_min_{t}"), &format!(".(list({t})) {t}"));
        add("max", format!("list_{t}_max_{t}"), &format!(".(list({t})) {t}"));
        add("sort", format!("list_{t}_sort"), &format!(".(list({t})) list({t})"));
        let by = format!("list_{t}_sortByAssociatedKeys");
        add("@sortByAssociatedKeys", by, &format!(".(list(A), list({t})) list(A)"));
    }
    for (function, word) in [
        ("_<_", "less"),
        ("_<=_", "less_equals"),
        ("_>_", "greater"),
        ("_>=_", "greater_equals"),
    ] {
        let numbers = [("int", "int64"), ("uint", "uint64"), ("double", "double")];
        for (t, name) in numbers {
            add(function, format!("{word}_{name}"), &format!("({t}, {t}) bool"));
            for (other, with) in numbers.iter().filter(|(other, _)| *other != t) {
                add(
                    function,
                    format!("{word}_{name}_{with}"),
                    &format!("({t}, {other}) bool"),
                );
            }
        }
        for t in ["bool", "string", "bytes", "timestamp", "duration"] {
            add(function, format!("{word}_{t}"), &format!("({t}, {t}) bool"));
        }
    }
    table
}

fn overload(id: &'static str, signature: &str) -> Overload {
    let member = signature.starts_with('.');
    let inner = signature.trim_start_matches('.').trim_start_matches('(');
    let mut args = Vec::new();
    let mut rest = inner;
    while !rest.starts_with(')') && !rest.is_empty() {
        let (arg, after) = parse(rest);
        args.push(arg);
        rest = after.trim_start_matches([',', ' ']);
    }
    let (result, _) = parse(rest.trim_start_matches(')').trim_start());
    Overload {
        id,
        member,
        args,
        result,
    }
}

/// The type at the start of the text, and what follows it.
fn parse(text: &str) -> (Type, &str) {
    let end = text.find(['(', ')', ',', ' ']).unwrap_or(text.len());
    let (name, mut rest) = text.split_at(end);
    let mut params = Vec::new();
    if let Some(inner) = rest.strip_prefix('(') {
        rest = inner;
        while !rest.starts_with(')') && !rest.is_empty() {
            let (param, after) = parse(rest);
            params.push(param);
            rest = after.trim_start_matches([',', ' ']);
        }
        rest = rest.strip_prefix(')').unwrap_or(rest);
    }
    let mut params = params.into_iter();
    let mut next = || params.next().unwrap_or(Type::Dyn);
    let found = match name {
        "A" => Type::Var(0),
        "B" => Type::Var(1),
        "list" => Type::list(next()),
        "map" => {
            let key = next();
            Type::map(key, next())
        }
        "optional" => Type::optional(next()),
        "type" => Type::Type(Some(next().into())),
        "net.IP" | "net.CIDR" => Type::Opaque(name.into(), [].into()),
        other => simple(other).unwrap_or_else(|| Type::object(other)),
    };
    (found, rest)
}

/// A type without parameters by the name that the language gives it.
fn simple(name: &str) -> Option<Type> {
    Some(match name {
        "dyn" => Type::Dyn,
        "bool" => Type::Bool,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "double" => Type::Double,
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "timestamp" => Type::Timestamp,
        "duration" => Type::Duration,
        _ => return None,
    })
}

/// The type that a name in an expression denotes.
pub(crate) fn type_named(name: &str) -> Option<Type> {
    Some(match name {
        "timestamp" | "duration" | "dyn" => return None,
        "null_type" => Type::Null,
        "list" => Type::list(Type::Dyn),
        "map" => Type::map(Type::Dyn, Type::Dyn),
        "type" => Type::Type(None),
        "optional_type" => Type::optional(Type::Dyn),
        "google.protobuf.Timestamp" => Type::Timestamp,
        "google.protobuf.Duration" => Type::Duration,
        "net.IP" | "net.CIDR" => Type::Opaque(name.into(), [].into()),
        other => return simple(other),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_reads_as_it_is_written() {
        let of = |name: &str, id: &str| {
            let found = FUNCTIONS[name]
                .iter()
                .find(|overload| overload.id == id)
                .expect("it is there");
            (
                found.member,
                crate::types::joined(&found.args),
                found.result.to_string(),
            )
        };
        assert_eq!(of("_[_]", "index_map"), (false, "map(T, T), T".into(), "T".into()));
        assert_eq!(
            of("split", "string_split_string_int"),
            (true, "string, string, int".into(), "list(string)".into())
        );
        assert_eq!(
            of("optional.none", "optional_none"),
            (false, String::new(), "optional_type(T)".into())
        );
        assert_eq!(of("getQuery", "url_get_query").2, "map(string, list(string))");
        assert_eq!(of("_<_", "less_int64_double").1, "int, double");
        assert!(
            FUNCTIONS
                .values()
                .flatten()
                .all(|overload| overload.result != Type::Error)
        );
    }
}
