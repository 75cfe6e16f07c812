// Records tests/golden/sql92.txt: what RocketMQ's own parser (rocketmq-filter 5.5.0) makes of expressions.
//   . ../real-broker/env.sh; "$java" -cp "$CP" Sql92Table.java > ../../golden/sql92.txt
//
// First the sets of properties ("p", then name=value each), then a line for each expression: its outcome for each set, T true,
// F false, N null, X an error; or "!" and the first line of why it was refused. Fields are separated by tabs; tabs, line ends and
// backslashes within them are escaped.

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.rocketmq.filter.FilterFactory;
import org.apache.rocketmq.filter.expression.EvaluationContext;
import org.apache.rocketmq.filter.expression.Expression;

class Sql92Table {
    static final String[][] SETS = {
        {}, {"a", "1"}, {"a", "2"}, {"a", "1.5"}, {"a", "abc"}, {"a", "true"}, {"a", "FALSE"}, {"a", " 1 "}, {"a", "-1"}, {"a", "+1"},
        {"a", "9999999999"}, {"a", "1d"}, {"a", "NaN"}, {"a", "-Infinity"}, {"a", "1e3"}, {"a", "0"}, {"a", "-0.0"},
        {"a", "9223372036854775807"}, {"a", "9223372036854775808"}, {"a", "it's"}, {"a", "中文"}, {"a", "x--y"}, {"a", "2147483648"},
        {"a", "."}, {"a", "1_0"}, {"a", "1."}, {"a", ".5"}, {"a", "1e400"}, {"a", "007"}, {"a", "-"}, {"a", "\u00a01"},
        {"a", "1", "b", "2", "c", "3"}, {"a", "3", "b", "3.0"}, {"a", "abc", "b", "abc"}, {"a", "x", "b", "true"}, {"b", "1"},
        {"A", "5", "_x", "6", "$y", "7"}, {"TAGS", "TagA", "KEYS", "k1"}, {"a", "true", "b", "false", "c", "null"},
    };

    static final List<String> EXPRESSIONS = new ArrayList<>(List.of(
        // constants, and what makes a whole expression
        "TRUE", "false", "NULL", "1", "'a'", "1.5", "a", "NOT a", "NOT TRUE", "NOT NULL", "NOT 1", "NOT 'a'", "-a", "+a", "- TRUE",
        "(a)", "((a))", "(TRUE)", "", " ", "(", ")", "()", "a b", "a = 1 b", "a = 1 )", "a = 1 (", "a = 1 1", "a = 1 'x", "a = 1 b 'x",
        "a = 1 b #", "a = 1 #", "#", "a # 1", "a == 1", "a != 1", "a ! 1", "a = ", "= 1", "a = = 1", "a <> 1", "a < > 1", "a >< 1",
        "a => 1", "a =< 1", "*", "%", "a = 1;", "a = 1 -- x", "a = 1 -- x\n", "a = --1", "a = -- x\n1", "a = 1 /* x */", "a /* x = 1",
        "a = /* ** * / */ 1", "a = 1 /", "/**/ a = 1", "/***/ a = 1", "/*/ a = 1", "a\t=\n1", "a\r\n=\f1", "a\u000b= 1", "a\u00a0= 1",
        // equality
        "a = 1", "a = 1.5", "a = 1.0", "a = 1L", "a = 1l", "a = 'abc'", "a = '1'", "a = ''", "a = 'it''s'", "a = '中文'", "a = 'x--y'", "a = TRUE",
        "a = FALSE", "a = NULL", "NULL = a", "a <> NULL", "a = -1", "a = +1", "a = - -1", "a = -'1'", "a = -TRUE", "a = 2147483648",
        "a = 9223372036854775807", "a = 9223372036854775808", "a = -9223372036854775808", "a = 99999999999999999999", "a = 0", "a = -0",
        "a = 00", "a = 007", "a = 0l", "a = 0.0", "a = -0.5", "a = 1e400", "a = 1e-400", "a = 1e3", "a = 1E3", "a = 1e", "a = 1e+", "a = 1.e3", "a = 1.",
        "a = .5", "a = .", "a = 1..5", "a = 1.5.2", "a = 0x10", "a = 1d", "a = 123abc", "a = 'x'y'", "a = 'x''", "a = 'x''y", "a = \"x\"", "a = x'",
        "1 = a", "'abc' = a", "TRUE = a", "1.5 = a", "a = b", "a <> b", "a = b = c", "a = a", "zz = zz", "zz <> zz", "zz = a", "a = zz",
        "1 = 1", "1 = 2", "1 = 1.0", "1 = 1L", "2147483648 = 1", "'a' = 'a'", "'a' = 'b'", "'a' = 1", "1 = 'a'", "1 = '1'", "'1' = 1", "'1.0' = 1",
        "TRUE = TRUE", "TRUE = FALSE", "TRUE = 1", "1 = TRUE", "TRUE = 'true'", "'true' = TRUE", "TRUE <> FALSE", "1.5 = TRUE", "'1.5' = 1.5",
        "(a = 1) = TRUE", "TRUE = (a = 1)", "(a = 1) = (b = 2)", "(a = 1) = 'true'", "(a = 1) = b", "(a = 1) = 1", "(a > 0) <> TRUE", "a = (b)",
        "a = (1)", "a = (TRUE)", "a = NOT b", "a = NOT TRUE", "NOT a = 1", "NOT (a = 1)", "NOT NOT a = 1", "a = b IS NULL", "a = 1 = TRUE",
        // order
        "a > 1", "a >= 1", "a < 1", "a <= 1", "a > 1.5", "a >= 1.5", "a < 1.5", "a <= 1.5", "a > 5", "a < 1000", "1 < a", "1.5 < a", "a > b", "a < b",
        "a >= b", "a <= b", "a > 'x'", "'x' > a", "a > TRUE", "TRUE > a", "a > NULL", "a > -1", "a > - 1", "-1 < a", "a > -b", "-a > 1", "-a < 0",
        "a > zz", "zz > a", "zz < 1", "a > 1 > 2", "(a > 1) > 2", "a > (b > 1)", "1 > 2", "2 > 1", "1 > 2147483648", "2147483648 > 1", "1.5 > 1",
        "1 > 1.5", "a > 2147483647", "a > 2147483648", "a < 9223372036854775807", "a > 1 = TRUE", "a > 1 IS NULL", "a > (1)", "(a) > 1",
        "NOT a > 1", "a > NOT b", "a > 1 AND a < 3", "a > 1 a < 3",
        // between
        "a BETWEEN 1 AND 2", "a between 1 and 1", "a BETWEEN 2 AND 1", "a BETWEEN 1.5 AND 2", "a BETWEEN 1 AND 2.5", "a BETWEEN -1 AND 1",
        "a BETWEEN 1 AND -1", "a BETWEEN 'a' AND 'b'", "a BETWEEN 'b' AND 'a'", "a BETWEEN 1 AND 'x'", "a BETWEEN 'x' AND 1", "a BETWEEN 1 AND '2'",
        "a BETWEEN NULL AND 1", "a BETWEEN 1 AND NULL", "a BETWEEN TRUE AND FALSE", "a BETWEEN TRUE AND 1", "a BETWEEN 1 AND TRUE", "a BETWEEN b AND c",
        "a BETWEEN 1 AND b", "a NOT BETWEEN 1 AND 2", "a NOT BETWEEN 2 AND 1", "a NOT BETWEEN 'a' AND 'b'", "a NOT BETWEEN b AND c",
        "NOT a BETWEEN 1 AND 2", "NOT (a BETWEEN 1 AND 2)", "a BETWEEN 1 OR 2", "a BETWEEN 1", "a BETWEEN 1 AND", "BETWEEN 1 AND 2", "1 BETWEEN a AND 2",
        "1 BETWEEN 0 AND 2", "'x' BETWEEN 1 AND 2", "a BETWEEN 1 AND 2 AND b = 2", "a BETWEEN (1) AND (2)", "a BETWEEN 1 AND 2 BETWEEN 1 AND 2",
        "a BETWEEN 2.0 AND 1", "a BETWEEN 3000000000 AND 1", "a BETWEEN 1 AND 3000000000", "a BETWEEN 'a' AND TRUE", "a BETWEEN TRUE AND 'a'",
        // in
        "a IN ('1')", "a IN ('1', '2')", "a IN ('abc','it''s','x','y','z','中文')", "a NOT IN ('1')", "a NOT IN ('1', 'abc', 'x', 'y', 'z', 'w')", "a IN (1)",
        "a IN ()", "a IN ('1',)", "a IN '1'", "a IN ('1'", "a IN", "a NOT IN", "a NOT IN (", "1 IN ('1')", "'a' IN ('a')", "(a) IN ('1')", "-a IN ('1')",
        "(a = 1) IN ('1')", "NOT a IN ('1')", "NOT (a IN ('1'))", "a in ('1') = TRUE", "a IN ('1') IN ('1')", "a IN ('1' '2')", "a IN (b)", "zz IN ('1')", "zz NOT IN ('1')",
        "a IN ('')", "TRUE IN ('a')", "a IN ('1') OR b = 1", "a IN ('1') AND b = '2'",
        // null
        "a IS NULL", "a IS NOT NULL", "a is null", "zz IS NULL", "zz IS NOT NULL", "NULL IS NULL", "NULL IS NOT NULL", "1 IS NULL", "'a' IS NOT NULL",
        "a IS", "a IS NOT", "a IS 1", "a IS NOT 1", "a IS TRUE", "a IS NULL IS NULL", "a IS NULL IS NOT NULL", "(a = 1) IS NULL", "NOT a IS NULL", "NOT (a IS NULL)",
        "-a IS NULL", "-1 IS NULL", "IS NULL", "a IS NULL NULL", "a IS NOT NULL AND a > 1", "a IS NULL OR a > 1", "a > 1 OR a IS NULL", "a = 1 IS NULL",
        // text
        "a CONTAINS 'b'", "a contains 'bc'", "a CONTAINS ''", "a CONTAINS 'it''s'", "a CONTAINS b", "a CONTAINS 1", "a CONTAINS", "a NOT CONTAINS 'b'", "a NOT CONTAINS ''",
        "a STARTSWITH 'a'", "a STARTSWITH 'b'", "a NOT STARTSWITH 'a'", "a NOT STARTSWITH ''", "a STARTSWITH ''", "a ENDSWITH 'c'", "a ENDSWITH 'b'", "a NOT ENDSWITH 'c'",
        "a NOT ENDSWITH ''", "a ENDSWITH ''", "a STARTSWITH '中'", "a ENDSWITH '文'", "zz CONTAINS 'x'", "zz NOT CONTAINS 'x'", "NOT (zz CONTAINS 'x')", "NOT zz CONTAINS 'x'",
        "'abc' CONTAINS 'b'", "1 CONTAINS '1'", "TRUE CONTAINS 'T'", "a CONTAINS 'a' CONTAINS 'b'", "(a = 1) STARTSWITH 't'", "a CONTAINS 'a' AND a ENDSWITH 'c'",
        "a CONTAINS 'a' = TRUE", "a NOT STARTSWITH 1", "a NOT 'x'", "a NOT b", "a NOT NULL", "a NOT", "a LIKE 'x'", "a CONTAINS 'b' > 1", "1 > (a CONTAINS 'b')", "'x' STARTSWITH 'x'",
        // logic
        "a = 1 AND b = 2", "a = 1 OR b = 1", "a = 1 or a = 2 and b = 2", "(a = 1 OR a = 2) AND b = 2", "a AND b", "a OR b", "TRUE AND a", "FALSE OR a", "a = 'abc' AND a > 1",
        "a > 1 AND a = 'abc'", "a = 'abc' OR a > 1", "a > 1 OR a = 'abc'", "FALSE AND a > 1", "TRUE OR a > 1", "TRUE AND NULL", "FALSE AND NULL", "TRUE OR NULL", "FALSE OR NULL",
        "NULL AND TRUE", "NULL AND FALSE", "NULL OR TRUE", "NULL OR FALSE", "NOT (NULL AND TRUE)", "NOT (NULL AND FALSE)", "NOT (NULL OR FALSE)", "1 AND TRUE", "TRUE AND 1", "'a' OR TRUE", "TRUE OR 'a'",
        "a AND", "AND a", "a OR", "OR", "a = 1 AND AND b = 2", "a = 1 AND OR b = 2", "a = 1 AND NOT b = 2", "a = 1 AND (b = 2", "a = 1 AND b = 2)", "NOT", "NOT NOT TRUE",
        "zz = 1 AND a = 1", "zz = 1 OR a = 1", "NOT zz = 1", "NOT (zz = 1)", "NOT (zz = 1 AND a = 1)", "NOT (zz = 1 OR a = 1)", "a = 1 AND b = 2 AND c = 3", "a = 9 OR b = 9 OR c = 3",
        // names
        "A = 5", "A = '5' AND _x = '6' AND $y = '7'", "_ = 1", "$ = 1", "a1 = 1", "a-1 = 1", "a.b = 1", "a:b = 1", "中 = 1", "é = 1", "notx = 1", "andy = 1", "TRUEx = 1", "in = 1", "IN = 1",
        "nULL IS NULL", "bEtWeEn = 1", "TAGS = 'TagA'", "TAGS IN ('TagA') AND KEYS = 'k1'", "TAGS is not null and (TAGS in ('TagA', 'TagB')) and (a is not null and a between 0 and 3)",
        "now() > 1", "a + 1 = 2", "a * 2 = 2", "a - 1 = 0", "a = 1 + 1", "+ + a = 1", "+(a = 1)", "-(a = 1)", "- - a = 1", "+'x' = a", "+TRUE", "-1", "-1 = -1", "-1.5 < a", "- (1) = a"
    ));

    public static void main(String[] args) throws Exception {
        StringBuilder out = new StringBuilder();
        for (String[] set : SETS) {
            out.append('p');
            for (int i = 0; i < set.length; i += 2) out.append('\t').append(set[i]).append('=').append(set[i + 1]);
            out.append('\n');
        }
        for (String expression : EXPRESSIONS) out.append(escaped(expression)).append('\t').append(outcome(expression)).append('\n');
        System.out.write(out.toString().getBytes("UTF-8"));
        System.out.flush();
    }

    static String outcome(String text) {
        Expression expression;
        try {
            expression = FilterFactory.INSTANCE.get("SQL92").compile(text);
        } catch (Exception e) {
            return "!" + escaped(e.getMessage().lines().findFirst().get());
        }
        StringBuilder out = new StringBuilder();
        for (String[] set : SETS) out.append(evaluated(expression, set));
        return out.toString();
    }

    static char evaluated(Expression expression, String[] set) {
        Map<String, String> properties = new HashMap<>();
        for (int i = 0; i < set.length; i += 2) properties.put(set[i], set[i + 1]);
        try {
            Object value = expression.evaluate(new EvaluationContext() {
                public Object get(String name) { return properties.get(name); }
                public Map<String, Object> keyValues() { return new HashMap<>(properties); }
            });
            return value == null ? 'N' : (Boolean) value ? 'T' : 'F';
        } catch (Exception e) {
            return 'X';
        }
    }

    static String escaped(String text) {
        return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r");
    }
}
