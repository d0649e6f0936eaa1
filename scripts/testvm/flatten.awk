# Prints each value of a JSON document as PATH<TAB>VALUE: "networks.0.ip_address	10.0.0.5".
{ text = text $0 " " }
END { value("") }

function blank() { sub(/^[ \t\r\n]+/, "", text) }
function eat(n) { text = substr(text, n + 1) }

function string(   s) {
	if (!match(text, /^"([^"\\]|\\.)*"/)) exit 1
	s = substr(text, 2, RLENGTH - 2)
	eat(RLENGTH)
	gsub(/\\[nrt]/, " ", s)
	gsub(/\\u003[cC]/, "<", s)
	gsub(/\\u003[eE]/, ">", s)
	gsub(/\\u0026/, "\\&", s)
	gsub(/\\"/, "\"", s)
	gsub(/\\\//, "/", s)
	gsub(/\\\\/, "\\", s)
	return s
}

function value(path,   c, key, n, dot) {
	blank()
	c = substr(text, 1, 1)
	dot = path == "" ? "" : path "."
	if (c == "{") {
		eat(1)
		for (blank(); text ~ /^"/; blank()) {
			key = string()
			blank()
			eat(1)
			value(dot key)
			blank()
			sub(/^,/, "", text)
		}
		eat(1)
	} else if (c == "[") {
		eat(1)
		n = 0
		for (blank(); text != "" && text !~ /^\]/; blank()) {
			value(dot n++)
			blank()
			sub(/^,/, "", text)
		}
		eat(1)
	} else if (c == "\"") {
		print path "\t" string()
	} else {
		if (!match(text, /^[^],} \t\r\n]+/)) exit 1
		print path "\t" substr(text, 1, RLENGTH)
		eat(RLENGTH)
	}
}
