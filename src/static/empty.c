/* The shared library is made of the layers' libraries whole; a target needs one source of its own.
 */
typedef int beck_static_unused;
