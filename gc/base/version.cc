namespace coppice {
extern const char version[];
const char version[] = "0.1.0";
} // namespace coppice
